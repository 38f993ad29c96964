/* SPDX-License-Identifier: MIT
 *
 * answers.h - solutions of the exercises that can make typical mistakes, one at a time.
 */
#ifndef ANSWERS_H
#define ANSWERS_H

extern int mistake_number; /* 0: none, the answers are right */

#define TYPICAL(number, mistake, right) (mistake_number == (number) ? (mistake) : (right))

#endif
