/* SPDX-License-Identifier: MIT
 *
 * system.h - what the programs ask of the operating system beside ISO C: streams and terminals, signals, files and
 * folders, time and memory. system_posix.c and system_windows.c answer, each on its systems; no other file of the
 * programs has a header of a system, but pages.c and lm/mpi/. Functions that fail set errno.
 */
#ifndef EXAMPLES_SYSTEM_H
#define EXAMPLES_SYSTEM_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* ---- Streams ---- */

/* Before a file is opened: closed standard streams stay closed, in that reading and writing them fails (messages to a
 * closed stderr vanish); bytes go through as they are; a write that makes a file larger than allowed is an error. */
void system_begin_streams(void);

/* Whether stdout is a pipe that its reader has closed. */
bool system_lost_reader(void);

bool system_is_terminal(FILE *stream);

/* The columns of the stream's terminal; 0: not known. */
int system_columns(FILE *stream);

/* A stream into memory, and its end: all that was written, with a NUL behind it, to be freed. NULL: it failed. */
typedef struct system_memory {
    FILE *file;
    char *text;
    size_t size;
} system_memory;
FILE *system_memory_begin(system_memory *m);
char *system_memory_end(system_memory *m);

/* A stream that keeps nothing. */
FILE *system_nowhere(void);

/* ---- Signals ---- */

/* From now on a signal that asks the program to end (Ctrl-C; where there are such: SIGTERM, SIGHUP, a closed pipe, the
 * limit of processor time) only sets the number that is returned, which is 0 until then. The same signal again ends the
 * program, if a person sent it. What the parent ignores, as nohup does SIGHUP, stays ignored. */
volatile const sig_atomic_t *system_catch_stops(void);

/* What a person calls that signal. */
const char *system_stop_name(int number);

/* From now on a crash prints `crash` to stdout and ends the program with status 1. A program that still runs after
 * `limit` seconds ends in the same way, with `hang`. */
void system_guard(int limit, const char *crash, const char *hang);

/* ---- Files and folders ---- */

typedef struct system_file {
    bool regular, folder;
    int64_t size;    /* bytes */
    int64_t changed; /* nanoseconds since a fixed moment; to the second where the system keeps no more */
} system_file;

/* False when there is none, at the end of all links. */
bool system_look(const char *path, system_file *what);
bool system_look_at(FILE *file, system_file *what);

bool system_exists(const char *path);
bool system_is_name(const char *path); /* also of a link that leads nowhere */
bool system_may_write(const char *path);
bool system_is_same(const char *a, const char *b); /* two names of one file or folder */

/* False with errno EEXIST when it is there. */
bool system_make_folder(const char *path);
void system_remove_folder(const char *path); /* an empty one */

/* The paths of a folder's entries, in the order of their names, without hidden ones. *count -1: the folder can not be
 * read, or memory has ended. */
char **system_list(const char *folder, int *count);
void system_list_free(char **list, int count);

/* From the root, to be freed; NULL: out of memory. */
char *system_absolute(const char *path);

/* Makes `path` a symbolic link to `to`, in the same folder. True where it is there and where the system has none. */
bool system_link(const char *to, const char *path);

/* As rename, over a file that exists. */
bool system_rename(const char *from, const char *to);

/* Keeps an open file for this program alone; false: another one has it. True where the system can not tell. */
bool system_lock(FILE *file);

/* All that was flushed is on disk, if there is a disk behind it. */
bool system_sync(FILE *file);

/* Cuts off what lies behind `size` bytes, and goes on writing there. */
bool system_cut(FILE *file, int64_t size);

/* ---- The program ---- */

/* Seconds since a fixed moment. */
double seconds(void);

/* Bytes that this program may still take; 0: not known. */
double system_free_bytes(void);

/* The path of this program's file, with slashes; false when it is not known or longer than size - 1. */
bool system_program(char *path, size_t size);

/* Prints a word as the shell must have it to take it as one word. */
void system_print_word(FILE *to, const char *word);

#endif
