/* SPDX-License-Identifier: MIT
 *
 * lm_mpi.c - see lm_processes.h: the processes of mpirun.
 *
 * A wait tests again and again; after the first fraction of a millisecond it lets other programs have the processor
 * between tests, each of which then takes milliseconds where there are others. It ends without what it waits for when a
 * signal has come and the others do not answer for a while: mpirun sends SIGTERM when a process has died.
 */
#include "examples/lm/lm_processes.h"
#include "examples/shared/quota.h"
#include "examples/shared/system.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESSORS = 4096, BITS = 8, MASK = PROCESSORS / BITS };

/* What a process may use. */
typedef struct place {
    unsigned char own[MASK], machine[MASK]; /* a bit for each processor: its own, those of its machine's processes */
    int processors, of_machine;             /* how many these are */
    int started_with;                       /* processors that the process which started this one may use */
    int neighbours;                         /* processes of this machine, itself included */
    bool apart;                             /* no processor is another process's too */
} place;

static struct {
    int rank, count;
    place place;
    bool joined, agreed; /* process 0 has told the others whether there is a run; a step was begun */
    volatile const sig_atomic_t *stop;
    ag_processes link;
    /* What is on its way is not the caller's: after a wait that was given up, MPI may still read and write it. */
    unsigned char *sent, *got;
    size_t room;
    int go_on, every;
} all;

/* ---- Waiting ---- */

static bool wait_for(MPI_Request *request)
{
    static const double patience = 0.3; /* seconds; mpirun gives a second between SIGTERM and SIGKILL */
    enum { EAGER = 1000 }; /* tests */
    double since = 0;
    int done = 0;
    for (int tests = 0;; tests += tests < EAGER) {
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS)
            return false;
        if (done)
            return true;
        if (all.stop != NULL && *all.stop != 0) {
            since = since > 0 ? since : seconds();
            if (seconds() - since > patience)
                return false;
        }
        if (tests == EAGER)
            sched_yield();
    }
}

static bool make_room(size_t bytes)
{
    if (bytes <= all.room)
        return true;
    unsigned char *sent = realloc(all.sent, bytes);
    all.sent = sent != NULL ? sent : all.sent;
    unsigned char *got = realloc(all.got, bytes);
    all.got = got != NULL ? got : all.got;
    all.room = sent != NULL && got != NULL ? bytes : all.room;
    if (all.room < bytes)
        fprintf(stderr, "lm: out of memory for %zu bytes between processes\n", bytes);
    return all.room >= bytes;
}

static bool exchange(void *user, const void *send, void *received, size_t bytes)
{
    MPI_Request request;
    const size_t whole = bytes * (size_t)all.count;
    (void)user;
    if (!make_room(whole))
        return false;
    memcpy(all.sent, send, whole);
    if (MPI_Ialltoall(all.sent, (int)bytes, MPI_BYTE, all.got, (int)bytes, MPI_BYTE, MPI_COMM_WORLD, &request) !=
            MPI_SUCCESS || !wait_for(&request))
        return false;
    memcpy(received, all.got, whole);
    return true;
}

static bool gather(void *user, const void *part, void *parts, size_t bytes)
{
    MPI_Request request;
    (void)user;
    if (!make_room(bytes * (size_t)all.count))
        return false;
    memcpy(all.sent, part, bytes);
    if (MPI_Iallgather(all.sent, (int)bytes, MPI_BYTE, all.got, (int)bytes, MPI_BYTE, MPI_COMM_WORLD, &request) !=
            MPI_SUCCESS || !wait_for(&request))
        return false;
    memcpy(parts, all.got, bytes * (size_t)all.count);
    return true;
}

/* Process 0's bytes to all. */
static bool tell(void *bytes, size_t size)
{
    MPI_Request request;
    return MPI_Ibcast(bytes, (int)size, MPI_BYTE, 0, MPI_COMM_WORLD, &request) == MPI_SUCCESS && wait_for(&request);
}

/* ---- Processors ---- */

/* The processors that a process may use, of Linux's /proc: "self" or a number. None where they are not known. */
static void read_mask(const char *process, unsigned char mask[MASK])
{
    static const char key[] = "Cpus_allowed_list:";
    char path[64], line[4096];
    memset(mask, 0, MASK);
    snprintf(path, sizeof path, "/proc/%s/status", process);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, sizeof key - 1) == 0)
            for (char *at = line + sizeof key - 1, *end; *at != '\0' && *at != '\n'; at = end + (*end == ',')) {
                const long first = strtol(at, &end, 10);
                const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
                if (end == at)
                    break;
                for (long i = first; i <= last && i < PROCESSORS; i++)
                    mask[i / BITS] |= (unsigned char)(1 << i % BITS);
            }
    if (file != NULL)
        fclose(file);
}

static int count_bits(const unsigned char mask[MASK])
{
    int count = 0;
    for (int i = 0; i < PROCESSORS; i++)
        count += mask[i / BITS] >> i % BITS & 1;
    return count;
}

static void find_place(place *p)
{
    MPI_Comm machine;
    unsigned char starter[MASK];
    char parent[24];
    int sum = 0;
    read_mask("self", p->own);
    snprintf(parent, sizeof parent, "%ld", (long)getppid());
    read_mask(parent, starter);
    p->processors = count_bits(p->own);
    p->started_with = count_bits(starter);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, all.rank, MPI_INFO_NULL, &machine);
    MPI_Comm_size(machine, &p->neighbours);
    MPI_Allreduce(p->own, p->machine, MASK, MPI_BYTE, MPI_BOR, machine);
    MPI_Allreduce(&p->processors, &sum, 1, MPI_INT, MPI_SUM, machine);
    MPI_Comm_free(&machine);
    p->of_machine = count_bits(p->machine);
    p->apart = sum == p->of_machine;
}

/* The processors that each process of the machine can have for itself. */
static int share_of(const place *p)
{
    return p->apart ? p->processors : p->of_machine / p->neighbours;
}

uint64_t processes_threads(void)
{
    const place *p = &all.place;
    const int quota = quota_processors(""), share = share_of(p);
    const int most = quota > 0 && quota / p->neighbours < share ? quota / p->neighbours : share;
    return most > 1 ? (uint64_t)most : 1;
}

/* Says, in process 0, when the binding of processes to processors leaves some idle or has threads share one. */
static void check_binding(uint64_t threads)
{
    const place *p = &all.place;
    const bool by_mpirun = getenv("OMPI_COMM_WORLD_SIZE") != NULL || getenv("PMI_SIZE") != NULL;
    const int own[2] = { by_mpirun && p->started_with / p->neighbours > share_of(p),
                         p->processors > 0 && threads > (uint64_t)p->processors };
    int any[2];
    MPI_Allreduce(own, any, 2, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (all.rank != 0)
        return;
    if (any[0])
        fprintf(stderr, "lm train: mpirun binds %d process%s to %d of %d processors, the others are idle; give mpirun "
                        "--bind-to none\n", p->neighbours, p->neighbours > 1 ? "es" : "", p->of_machine,
                p->started_with);
    else if (any[1])
        fprintf(stderr, "lm train: %llu threads share the %d processor%s that mpirun binds a process to; give mpirun "
                        "--bind-to none or --threads %d\n", (unsigned long long)threads, p->processors,
                p->processors > 1 ? "s" : "", p->processors);
}

/* ---- Beginning, steps, end ---- */

bool processes_begin(int *argc, char ***argv)
{
    if (MPI_Init(argc, argv) != MPI_SUCCESS)
        exit(EXIT_FAILURE); /* after MPI's own message */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &all.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &all.count);
    all.link = (ag_processes){ .rank = all.rank, .count = all.count, .exchange = exchange, .gather = gather };
    find_place(&all.place);
    return all.rank == 0;
}

int64_t processes_count(void) { return all.count; }

const ag_processes *processes_join(led_run *led, volatile const sig_atomic_t *stop)
{
    uint64_t head[2] = { 0, led->threads }; /* the size of config, 0: no run */
    if (all.rank == 0 && led->config != NULL)
        head[0] = strlen(led->config) + 1;
    all.stop = stop;
    all.joined = true;
    if (!tell(head, sizeof head) || head[0] == 0)
        return NULL;
    led->threads = head[1];
    led->config = all.rank == 0 ? led->config : malloc(head[0]);
    if (led->config == NULL) {
        fprintf(stderr, "lm: out of memory for the settings\n");
        MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    } else if (!tell(led->folder, sizeof led->folder) || !tell(led->config, head[0])) {
        return NULL;
    }
    check_binding(led->threads);
    return all.count > 1 ? &all.link : NULL;
}

bool processes_agree(const ag_processes *link, bool *go_on)
{
    MPI_Request request;
    all.agreed = true;
    if (link == NULL)
        return true;
    all.go_on = *go_on;
    if (MPI_Iallreduce(&all.go_on, &all.every, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD, &request) != MPI_SUCCESS ||
        !wait_for(&request))
        return false;
    *go_on = all.every != 0;
    return true;
}

/* An error in a step is known to all processes: those that are led leave the end to process 0, which may still save. */
int processes_end(int status)
{
    led_run none = { .config = NULL };
    if (all.rank == 0 && !all.joined)
        processes_join(&none, NULL);
    else if (status != EXIT_SUCCESS && all.count > 1 && (all.rank == 0 || !all.agreed))
        MPI_Abort(MPI_COMM_WORLD, status);
    MPI_Finalize();
    free(all.sent);
    free(all.got);
    return status;
}
