/* SPDX-License-Identifier: MIT
 *
 * judge_rows.c - exercises 1 to 5: functions of rows.
 */
#include "examples/exercises/exercises.h"
#include "examples/exercises/judge_impl.h"

/* ---- 1. Softmax ---- */

void judge_softmax(double *y, const double *x, int rows, int cols)
{
    for (int r = 0; r < rows; r++, x += cols, y += cols) {
        double max = x[0], sum = 0;
        for (int c = 1; c < cols; c++)
            max = fmax(max, x[c]);
        for (int c = 0; c < cols; c++)
            sum += y[c] = exp(x[c] - max);
        for (int c = 0; c < cols; c++)
            y[c] /= sum;
    }
}

static void softmax_right(const double *const *x, double *const *y, void *user)
{
    (void)user;
    judge_softmax(y[0], x[0], 3, 5);
}

static void softmax_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    double y[3 * 5];
    softmax_right(x, (double *[]){ y }, user);
    softmax_backward(gx[0], gy[0], y, 3, 5);
}

const exercise exercise_softmax_backward = {
    .name = "softmax_backward",
    .signature = "x[3,5] -> y[3,5]",
    .forward = softmax_right,
    .backward = softmax_student,
    .start = "In a row every y depends on every x. Write d y[j] / d x[i] for i == j and for i != j, in terms of y; "
             "then dx[i] is the sum over j of dy[j] times that.",
    .hint = {
        { .cause = AG_CAUSE_ZERO, .words = "terms that cancel",
          .text = "Your terms cancel, so dx is 0 everywhere. The sum runs over the outputs that x[i] moves: whose dy "
                  "stands in each term?" },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "missing or wrong",
          .text = "Each row of dx is off by a multiple of y, so your sum is not the sum of that row. Where does it "
                  "begin, and what does it hold there?" },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "wrong sign",
          .text = "The sum over the row is right, and its sign is not: raising x[i] lowers the other y of its row." },
        { .cause = AG_CAUSE_SKIPPED, .words = "is equal to the element's",
          .text = "You have what x[i] does to the other y of its row. What does it do to y[i]?" },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "is missing",
          .text = "x[i] also moves the other y of its row, through softmax's denominator. Your dx[i] has y[i] "
                  "alone." },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "diagonal",
          .text = "You have d y[i] / d x[i], the diagonal of the Jacobian. What does x[i] do to y[j] for i != j?" },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "over all rows",
          .text = "Your sum runs over the whole array. Which outputs does an x of row 0 act on?" },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "sum(gy) in place",
          .text = "Your sum adds up dy as if every y of the row moved equally far. How far does y[j] move?" },
        { .cause = AG_CAUSE_OPERAND, .words = "the output",
          .text = "A last factor is missing: how much can x[i] matter when y[i] is nearly 0?" },
    },
    .shows = "softmax's backward needs y alone and one sum a row. Where dy is the same everywhere in a row, dx is 0: "
             "adding a constant to a row of x changes nothing.",
};

/* ---- 2. Layer norm ---- */

static void layer_norm_right(const double *const *x, double *const *y, void *user)
{
    int mistake = *(const int *)user;
    for (int r = 0; r < 3; r++) {
        const double *row = x[0] + r * 5;
        double mean = 0, variance = 0;
        for (int c = 0; c < 5; c++)
            mean += row[c] / 5;
        for (int c = 0; c < 5; c++)
            variance += (row[c] - mean) * (row[c] - mean) / (mistake == 1 ? 4 : 5);
        for (int c = 0; c < 5; c++)
            y[0][r * 5 + c] = (row[c] - mean) / sqrt(variance + (mistake == 2 ? 0 : 1e-5)) * x[1][c] + x[2][c];
    }
}

static void layer_norm_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    layer_norm_backward(gx[0], gx[1], gx[2], gy[0], x[0], x[1], 3, 5);
}

const exercise exercise_layer_norm_backward = {
    .name = "layer_norm_backward",
    .signature = "x[3,5] w[5] b[5] -> y[3,5]",
    .forward = layer_norm_right,
    .backward = layer_norm_student,
    .start = "Begin with db and dw, which are sums over the rows. Then dx: with g = dy w, x[c] acts on y in three "
             "ways, by itself, through the row's mean and through its variance.",
    .hint = {
        { .mistake = 1,
          .text = "Your variance divides by cols - 1; the one in exercises.h is a mean, over cols." },
        { .mistake = 2,
          .text = "The forward adds 1e-5 to the variance, and your backward does not." },
        { .cause = AG_CAUSE_MEAN_MISSING,
          .text = "The mean depends on x[c] too: raising x[c] lowers every xhat of the row a little. That term is "
                  "missing in dx, or has another size." },
        { .cause = AG_CAUSE_VARIANCE_MISSING,
          .text = "The variance depends on x[c] too: where it grows, every xhat of the row shrinks. That term is "
                  "missing in dx, or has another size." },
        { .cause = AG_CAUSE_OPERAND, .input = "x",
          .text = "dx is as if y were xhat: one step lies between xhat and y, and dy must come back through it "
                  "first." },
        { .cause = AG_CAUSE_NORM_SCALE, .words = "left out",
          .text = "dx is as if xhat were x - mean, which is then not divided by anything." },
        { .cause = AG_CAUSE_NORM_SCALE,
          .text = "dx has another factor in each row than it should: what is x - mean divided by in the forward?" },
        { .cause = AG_CAUSE_OPERAND, .input = "w",
          .text = "In dw you multiply dy by the wrong array: what is w[c] multiplied by in the forward?" },
        { .cause = AG_CAUSE_NOT_REDUCED, .input = "w",
          .text = "dw has the last row's part alone. w is used in every row: what happens to the parts of the "
                  "others?" },
        { .cause = AG_CAUSE_NOT_REDUCED, .input = "b",
          .text = "db has the last row's part alone. b is used in every row: what happens to the parts of the "
                  "others?" },
    },
    .shows = "a norm's backward takes two things away from the gradient of each row: its mean, and its part along "
             "xhat. What the norm removes from x gets no gradient.",
};

/* ---- 3. GELU ---- */

static const double PI = 3.14159265358979323846;

static void gelu_right(const double *const *x, double *const *y, void *user)
{
    int mistake = *(const int *)user;
    for (int i = 0; i < 12; i++) {
        double v = x[0][i], tanh_form = (1 + tanh(sqrt(2 / PI) * (v + 0.044715 * v * v * v))) / 2;
        double erf_form = (1 + erf(v / sqrt(2))) / 2, sigmoid_form = 1 / (1 + exp(-1.702 * v));
        y[0][i] = v * (mistake == 1 ? erf_form : mistake == 2 ? sigmoid_form : tanh_form);
    }
}

static void gelu_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    gelu_backward(gx[0], gy[0], x[0], 12);
}

const exercise exercise_gelu_backward = {
    .name = "gelu_backward",
    .signature = "x[12] -> y[12]",
    .forward = gelu_right,
    .backward = gelu_student,
    .start = "y is a product of two functions of x: the product rule gives two terms. The derivative of tanh(u) is (1 "
             "- tanh(u)^2) u'.",
    .hint = {
        { .mistake = 1,
          .text = "This is the slope of the other GELU, x Phi(x) with erf. The forward here is the tanh form; their "
                  "slopes differ by up to 1e-3." },
        { .mistake = 2,
          .text = "This is the slope of x sigmoid(1.702 x), an approximation of GELU. The forward here is the tanh "
                  "form." },
        { .cause = AG_CAUSE_SLOPE, .words = "x (1 - t^2) is missing",
          .text = "One of the product rule's two terms is there. tanh(u) depends on x too." },
        { .cause = AG_CAUSE_SLOPE, .words = "x (1 - t^2) is 0.5 times",
          .text = "One constant is not the forward's. sqrt(2 / pi) and 1 / sqrt(2 pi) look alike; compare them as "
                  "numbers." },
        { .cause = AG_CAUSE_SLOPE, .words = "is 0.333333 times",
          .text = "Differentiate u once more, slowly: what is the derivative of x^3?" },
        { .cause = AG_CAUSE_SLOPE, .words = "x^3 (1 - t^2) is missing",
          .text = "u' is not complete: u has a factor and two terms." },
        { .cause = AG_CAUSE_SLOPE, .words = "is 2 times",
          .text = "A factor 1/2 is missing in one of the product rule's two terms." },
        { .cause = AG_CAUSE_SLOPE, .words = "has the wrong sign",
          .text = "One of the product rule's two terms has the wrong sign." },
        { .cause = AG_CAUSE_SLOPE, .words = "sqrt(pi/2)",
          .text = "A constant of u is not in u': u is sqrt(2 / pi) times a polynomial." },
        { .cause = AG_CAUSE_SLOPE, .words = "1 - t in place",
          .text = "The derivative of tanh(u) is not 1 - tanh(u): that is 2 far out on the left, where tanh is flat." },
    },
    .shows = "the slope of GELU goes beyond 1 and below 0. Public runtimes have had this formula wrong by one "
             "constant for months: the loss still falls, and only a check shows it.",
};

/* ---- 4. Cross-entropy ---- */

static const int TARGET[4] = { 2, 0, 4, 2 };

static void cross_entropy_right(const double *const *x, double *const *y, void *user)
{
    double p[4 * 5], loss = 0;
    judge_softmax(p, x[0], 4, 5);
    for (int r = 0; r < 4; r++)
        loss -= log(p[r * 5 + TARGET[r]]);
    y[0][0] = *(const int *)user == 1 ? loss : loss / 4;
}

static void cross_entropy_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    cross_entropy_backward(gx[0], gy[0][0], x[0], TARGET, 4, 5);
}

const exercise exercise_cross_entropy_backward = {
    .name = "cross_entropy_backward",
    .signature = "logits[4,5] -> loss[]",
    .forward = cross_entropy_right,
    .backward = cross_entropy_student,
    .start = "Write the loss of one row as log(sum of exp(logits)) - logits[target], and differentiate both terms.",
    .hint = {
        { .mistake = 1,
          .text = "This is the gradient of the sum of the rows' losses; the forward takes their mean." },
        { .cause = AG_CAUSE_TARGET, .words = "not subtracted",
          .text = "You have the derivative of log(sum of exp(logits)). The loss has a second term, which the "
                  "target's logit alone is in." },
        { .cause = AG_CAUSE_ZERO,
          .text = "Some logits get no gradient. Which logits of a row does the probability of its target depend on?" },
        { .cause = AG_CAUSE_OPERAND, .words = "not normalised",
          .text = "exp(logit) stands where the probability should: the probabilities of a row add up to 1." },
        { .cause = AG_CAUSE_OPERAND, .words = "A factor too many",
          .text = "Your gradient is multiplied by the probability once more. What does the derivative of the log do "
                  "to that of softmax?" },
        { .cause = AG_CAUSE_OPERAND,
          .text = "The logits stand where the probabilities should: what is the derivative of log(sum of "
                  "exp(logits))?" },
        { .cause = AG_CAUSE_UPSTREAM_IGNORED,
          .text = "dloss is not used. The loss may be a part of a larger one, 0.5 loss + ..., and then dloss is "
                  "0.5." },
        { .cause = AG_CAUSE_SIGN,
          .text = "Your gradient goes uphill: the loss is minus the log of the target's probability." },
        { .cause = AG_CAUSE_UNKNOWN,
          .text = "Two questions: has each logit a gradient, since every probability of a row depends on it; and is "
                  "target[r] the one column of row r that differs?" },
    },
    .shows = "logits get softmax minus the one-hot target, divided by the rows: each row of the gradient sums to 0, "
             "and it is small where the model is sure and right.",
};

/* ---- 5. Linear ---- */

static void linear_right(const double *const *x, double *const *y, void *user)
{
    (void)user;
    for (int r = 0; r < 4; r++)
        for (int o = 0; o < 2; o++) {
            y[0][r * 2 + o] = x[2][o];
            for (int i = 0; i < 3; i++)
                y[0][r * 2 + o] += x[0][r * 3 + i] * x[1][o * 3 + i];
        }
}

static void linear_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    linear_backward(gx[0], gx[1], gx[2], gy[0], x[0], x[1], (linear_sizes){ .rows = 4, .in = 3, .out = 2 });
}

const exercise exercise_linear_backward = {
    .name = "linear_backward",
    .signature = "x[4,3] w[2,3] b[2] -> y[4,2]",
    .forward = linear_right,
    .backward = linear_student,
    .start = "Write y[r,o] as a sum, with its indices. Each product x[r,i] w[o,i] in it sends dy[r,o] times the other "
             "factor to dx[r,i] and to dw[o,i].",
    .hint = {
        { .cause = AG_CAUSE_TRANSPOSED, .input = "w", .words = "input 0 (x) has two dims swapped",
          .text = "dw reads x as if it were [in,rows]. Which element of x joins w[o,i] and y[r,o]?" },
        { .cause = AG_CAUSE_STRIDE_IGNORED, .text = "dy is read as if it were [out,rows]: it has the shape of y." },
        { .cause = AG_CAUSE_TRANSPOSED, .input = "w",
          .text = "dw has the right numbers at transposed places: w is [out,in], and so is dw." },
        { .cause = AG_CAUSE_TRANSPOSED, .input = "x",
          .text = "dx reads w as if it were [in,out]. Which element of w joins x[r,i] and y[r,o]?" },
        { .cause = AG_CAUSE_NOT_ACCUMULATED, .input = "x",
          .text = "dx has one output's part alone: each x[r,i] is in every y[r,o] of its row." },
        { .cause = AG_CAUSE_NOT_ACCUMULATED, .input = "w",
          .text = "dw has one row's part alone: each w[o,i] is used in every row." },
        { .cause = AG_CAUSE_NOT_REDUCED, .input = "b",
          .text = "db has one row's part alone: each b[o] is added in every row." },
    },
    .shows = "a matrix product's gradients are matrix products. The parameters are used in every row, so their "
             "gradients are sums over rows; x is used in one.",
};
