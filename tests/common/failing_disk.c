/* Loaded before the system's library by tests/common/failing_disk.rs: a sync or a new thread fails when the
 * file $DISK_FAULT says so; $DISK_LOG gets an "s" for each sync of a file that was done. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int told(const char *what)
{
	const char *path = getenv("DISK_FAULT");
	char word[16] = "";
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t length = file < 0 ? 0 : read(file, word, sizeof word - 1);

	if (file >= 0)
		close(file);
	return length > 0 && strcmp(word, what) == 0;
}

static int sync_by(const char *name, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
	const char *path = getenv("DISK_LOG");
	struct stat found;
	int folder = fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
	/* A folder fails when a closed file is in it: its name is what has to be synced. */
	int closed = faccessat(fd, "ledger.jsonl.000000000001", F_OK, 0) == 0;

	if (folder ? closed && told("folders") : told("files")) {
		errno = EIO;
		return -1;
	}
	if (!folder && path) {
		int log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

		if (log < 0 || write(log, "s", 1) != 1)
			abort();
		close(log);
	}
	return real(fd);
}

int fsync(int fd)
{
	return sync_by("fsync", fd);
}

int fdatasync(int fd)
{
	return sync_by("fdatasync", fd);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*start)(void *), void *with)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
		(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))
			dlsym(RTLD_NEXT, "pthread_create");

	return told("threads") ? EAGAIN : real(thread, how, start, with);
}
