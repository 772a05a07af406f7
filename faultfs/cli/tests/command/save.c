/* Keeps one value in one file for each key: `save KEY VALUE`. Without FIXED it acknowledges too early. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int save(const char *key, const char *value)
{
	int fd = open("new", O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		return 1;
#ifdef FIXED
	if (fsync(fd))
		return 1;
#endif
	close(fd);
	if (rename("new", key))
		return 1;
	int dir = open(".", O_RDONLY);
	if (fsync(dir))
		return 1;
	close(dir);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3 || save(argv[1], argv[2]))
		return 1;
	printf("saved %s\n", argv[1]);
	return 0;
}
