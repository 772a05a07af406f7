// leveldb put sync|unsynced, leveldb check: enough for a second log file, and each put acknowledged.
#include <leveldb/db.h>
#include <leveldb/iterator.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

static std::string value(int id) { return std::string(3000, 'a' + id % 26); }

static int fail(const char *how, const std::string &why) {
    fprintf(stderr, "%s: %s\n", how, why.c_str());
    return 1;
}

static int put(leveldb::DB *db, bool sync) {
    leveldb::WriteOptions options;
    options.sync = sync;
    for (int id = 0; id < 30; id++) {
        leveldb::Status done = db->Put(options, "key-" + std::to_string(id), value(id));
        if (!done.ok()) return fail("put", done.ToString());
        printf("put %d\n", id);
        fflush(stdout);
    }
    return 0;
}

static int check(leveldb::DB *db) {
    int last = -1;
    char line[64];
    FILE *output = fopen(getenv("FAULTFS_OUTPUT"), "r");
    while (fgets(line, sizeof line, output)) sscanf(line, "put %d", &last);
    fclose(output);
    for (int id = 0; id <= last; id++) {
        std::string found, key = "key-" + std::to_string(id);
        leveldb::Status done = db->Get(leveldb::ReadOptions(), key, &found);
        if (done.IsNotFound()) return fail("lost", key + " of " + std::to_string(last));
        if (!done.ok() || found != value(id)) return fail("corrupt", key + " " + done.ToString());
    }
    std::unique_ptr<leveldb::Iterator> all(db->NewIterator(leveldb::ReadOptions()));
    for (all->SeekToFirst(); all->Valid(); all->Next()) {
        int id = atoi(all->key().ToString().c_str() + 4);
        if (all->value().ToString() != value(id)) return fail("corrupt", all->key().ToString());
    }
    return all->status().ok() ? 0 : fail("corrupt", all->status().ToString());
}

int main(int argc, char **argv) {
    leveldb::Options options;
    options.create_if_missing = true;
    options.write_buffer_size = 64 << 10;
    leveldb::DB *db;
    leveldb::Status opened = leveldb::DB::Open(options, "db", &db);
    if (!opened.ok()) return fail("unopenable", opened.ToString());
    std::unique_ptr<leveldb::DB> owned(db);
    return !strcmp(argv[1], "put") ? put(db, !strcmp(argv[2], "sync")) : check(db);
}
