/* Two processes and a mapping: a counter in a mapped page, and a log that says what the counter was. The store is
 * acknowledged once it is durable, or without FIXED once it was made. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	int fd = open("counter", O_CREAT | O_RDWR, 0644);
	if (fd < 0 || ftruncate(fd, 4096) || fsync(fd))
		return 1;
	int dir = open(".", O_RDONLY);
	if (fsync(dir))
		return 1;
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return 1;
	for (char count = 'a'; count < 'd'; count++) {
		pid_t child = fork();
		if (child == 0) {
			page[100] = count;
			_exit(0);
		}
		int status;
		if (waitpid(child, &status, 0) != child || status != 0)
			return 1;
#ifdef FIXED
		if (msync(page, 4096, MS_SYNC))
			return 1;
#endif
		printf("counted %c\n", count);
		fflush(stdout);
	}
	return 0;
}
