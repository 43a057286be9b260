/*
 * Reads a dump with libkdumpfile, page by page, and compares each page with
 * a file that holds the same memory.
 *
 *   kdumpfile_pages DUMP SOURCE GPA:SIZE:OFFSET...
 *
 * Each range of SIZE bytes from guest-physical address GPA on lies in SOURCE
 * from byte OFFSET on. Prints one line; exit code 0 if all pages are equal.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libkdumpfile/kdumpfile.h>

#define PAGE_SIZE 4096

static int compare_range(kdump_ctx_t *ctx, int source, const char *range,
			 uint64_t *pages)
{
	uint64_t gpa, size, offset, done;
	static char ours[PAGE_SIZE], theirs[PAGE_SIZE];

	if (sscanf(range, "%" SCNi64 ":%" SCNi64 ":%" SCNi64,
		   &gpa, &size, &offset) != 3) {
		printf("'%s' is not GPA:SIZE:OFFSET\n", range);
		return 1;
	}
	for (done = 0; done < size; done += PAGE_SIZE) {
		size_t length = PAGE_SIZE;
		kdump_status status;

		if (pread(source, theirs, PAGE_SIZE, offset + done) != PAGE_SIZE) {
			printf("source: no page at offset %#" PRIx64 "\n",
			       offset + done);
			return 1;
		}
		status = kdump_read(ctx, KDUMP_MACHPHYSADDR, gpa + done,
				    ours, &length);
		if (status != KDUMP_OK) {
			printf("libkdumpfile: page %#" PRIx64 ": %s\n",
			       gpa + done, kdump_get_err(ctx));
			return 1;
		}
		if (memcmp(ours, theirs, PAGE_SIZE)) {
			printf("libkdumpfile: page %#" PRIx64 " differs\n",
			       gpa + done);
			return 1;
		}
		++*pages;
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t pages = 0;
	kdump_ctx_t *ctx;
	int dump, source, i;

	if (argc < 4) {
		fprintf(stderr, "usage: %s DUMP SOURCE GPA:SIZE:OFFSET...\n", argv[0]);
		return 2;
	}
	dump = open(argv[1], O_RDONLY);
	source = open(argv[2], O_RDONLY);
	if (dump < 0 || source < 0) {
		printf("%s: %s\n", argv[dump < 0 ? 1 : 2], strerror(errno));
		return 1;
	}
	ctx = kdump_new();
	if (!ctx || kdump_open_fd(ctx, dump) != KDUMP_OK) {
		printf("libkdumpfile: cannot open: %s\n",
		       ctx ? kdump_get_err(ctx) : "out of memory");
		return 1;
	}
	for (i = 3; i < argc; i++)
		if (compare_range(ctx, source, argv[i], &pages))
			return 1;
	printf("libkdumpfile: %" PRIu64 " pages equal\n", pages);
	return 0;
}
