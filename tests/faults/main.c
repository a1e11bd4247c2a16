/* Runs every workload with each of its allocations failing in turn; ends with one line: N passed, N failed. */
#include "allocation.h"
#include "workload.h"

#include "base/crypto.h"
#include "base/log.h"

#include <openssl/err.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE    120 /* seconds for one workload, all its runs together */
#define SLICES_MOST 12

/* Where the child is, so that the parent can say it after a crash. */
static struct place {
    uint64_t nth, runs;
    bool all_after;
    struct allocation_frames frames;
} * places, *place;
static const char *current;
static char folder[64];

const char *workload_folder(void)
{
    return folder;
}

bool workload_starved(void)
{
    return atomic_load(&allocation->refused) > 0;
}

bool workload_persistent(void)
{
    return place->all_after && atomic_load(&allocation->armed) != 0 && workload_starved();
}

void workload_memory_is_back(void)
{
    (void)allocation_allow();
}

void workload_fails(const char *file, int line, const char *what)
{
    (void)allocation_allow();
    (void)fprintf(stderr, "faults: %s, allocation %llu%s failing: %s:%d: not so: %s\n", current,
                  (unsigned long long)place->nth, place->all_after ? " and all after it" : "", file, line, what);
    allocation_blame(&place->frames);
    _exit(1);
}

bool workload_ok(enum pp_result rc, const char *file, int line)
{
    if (rc != PP_OK && (rc != PP_NOMEM || !workload_starved()))
        workload_fails(file, line, pp_result_name(rc));
    return rc == PP_OK;
}

static void drop_line(void *owner, const char *line, size_t n)
{
    (void)owner;
    (void)line;
    (void)n;
}

void workload_same(char **kept, const struct buf *text)
{
    struct str now = buf_str(text);
    if (*kept == NULL && !workload_starved())
        *kept = strndup(now.p, now.n); /* the first run of all, with memory */
    must(*kept != NULL && strlen(*kept) == now.n && memcmp(*kept, now.p, now.n) == 0);
}

/* One run, the blocks it left behind, and whether it met its fault. */
static int64_t run_once(const struct workload *w, bool *starved)
{
    int64_t before = allocation_live();
    allocation_refuse(place->nth, place->all_after);
    enum outcome outcome = w->run();
    *starved = allocation_allow() > 0;
    place->runs++;
    ERR_clear_error(); /* what is left in OpenSSL's queue is no leak: the next call that matters empties it */
    if (!*starved && outcome != DONE)
        workload_fails(__FILE__, __LINE__, "without a fault everything is done");
    return allocation_live() - before;
}

/* One run; false when it needed fewer than `nth` allocations. */
static bool run_starved(const struct workload *w, uint64_t nth, bool all_after)
{
    place->nth = nth;
    place->all_after = all_after;
    bool starved = false, again = false;
    /* A library may set up something for good in the way of a fault: but not each time. */
    if (run_once(w, &starved) != 0 && run_once(w, &again) != 0 && run_once(w, &again) != 0 && run_once(w, &again) != 0)
        workload_fails(__FILE__, __LINE__, "everything is freed again");
    return starved;
}

/* The allocations of one slice of the workload, one after the other. */
static void run_slice(const struct workload *w, unsigned slice)
{
    if (w->set_up != NULL)
        w->set_up();
    /* What libraries set up once and keep is no leak. */
    place->nth = 0;
    ERR_raise_data(ERR_LIB_USER, ERR_R_MALLOC_FAILURE, "for the queue's own memory");
    ERR_clear_error();
    for (int i = 0; i < 3; i++)
        must(w->run() == DONE);
    (void)run_starved(w, 0, false);
    if (atomic_load(&allocation->asked) < w->least && !allocation_sanitized()) {
        (void)fprintf(stderr, "faults: %s: %llu allocations, expected at least %u\n", w->name,
                      (unsigned long long)atomic_load(&allocation->asked), w->least);
        _exit(1);
    }
    for (int all_after = 0; all_after < 2; all_after++) {
        unsigned beyond = 0; /* with threads, the number of allocations is not always the same */
        for (uint64_t nth = 1 + slice; beyond < 3; nth += w->slices + 1) {
            beyond = run_starved(w, nth, all_after != 0) ? 0 : beyond + 1;
            if (nth % 8 == 1)
                (void)run_starved(w, 0, false); /* what failed before has no part in what comes now */
        }
    }
}

/* In processes of its own: a crash is one failure, libraries start anew, and who waits does not hold up the others. */
static pid_t start_slice(const struct workload *w, unsigned slice)
{
    place = &places[slice];
    *place = (struct place){0};
    pid_t child = fork();
    if (child != 0)
        return child;
    allocation_keep_frames(&place->frames);
    (void)alarm(PATIENCE);
    log_set_sink(drop_line, NULL);
    (void)snprintf(folder + strlen(folder), sizeof folder - strlen(folder), "/%u", slice);
    must(mkdir(folder, 0700) == 0 || errno == EEXIST);
    run_slice(w, slice);
    exit(0); /* with the leak check of a sanitizer */
}

static bool passes(const struct workload *w)
{
    pid_t children[SLICES_MOST] = {0};
    unsigned long long runs = 0;
    bool well = w->slices < SLICES_MOST;
    current = w->name;
    (void)fflush(NULL);
    for (unsigned i = 0; well && i <= w->slices; i++)
        children[i] = start_slice(w, i);
    for (unsigned i = 0; i <= w->slices && i < SLICES_MOST; i++) {
        int status = 0;
        well = children[i] > 0 && waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status) &&
               WEXITSTATUS(status) == 0 && well;
        if (WIFSIGNALED(status)) {
            place = &places[i];
            (void)fprintf(stderr, "faults: %s, allocation %llu%s failing: signal %d\n", current,
                          (unsigned long long)place->nth, place->all_after ? " and all after it" : "",
                          WTERMSIG(status));
            allocation_blame(&place->frames);
        }
        runs += places[i].runs;
    }
    (void)printf("faults: %-20s %5llu runs%s\n", w->name, runs, well ? "" : ", FAILED");
    return well;
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *where)
{
    (void)stat;
    (void)kind;
    (void)where;
    return remove(path);
}

int main(int argc, char **argv)
{
    static const struct workload *const groups[] = {base_workloads, http_workloads,  config_workloads, token_workloads,
                                                    net_workloads,  proxy_workloads, daemon_workloads};
    unsigned passed = 0, failed = 0;
    places = mmap(NULL, SLICES_MOST * sizeof *places, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)snprintf(folder, sizeof folder, "/tmp/proofproxy-faults-XXXXXX");
    if (places == MAP_FAILED || mkdtemp(folder) == NULL) {
        perror("faults");
        return 1;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    crypto_init();
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        for (const struct workload *w = groups[g]; w->name != NULL; w++) {
            if (argc > 1 && strncmp(w->name, argv[1], strlen(argv[1])) != 0)
                continue;
            *(passes(w) ? &passed : &failed) += 1;
        }
    (void)nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    (void)printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}
