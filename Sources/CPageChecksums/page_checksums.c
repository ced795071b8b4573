// SQLite on a VFS: https://sqlite.org/vfs.html; on a database's pages: https://sqlite.org/fileformat.html.
//
// Only the file that SQLite opens as a main database is ours. All the others (logs, journals, temporary files) are
// opened by the default VFS in the memory that was meant for ours, and we never hear of them again.
//
// SQLite uses a file object from one thread at a time, so nothing here needs a lock.
#include "page_checksums.h"
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

enum {
    reserved_bytes = 8,
    /// The database's header, at the start of page 1. SQLite reads it, or its change counter alone, before it knows
    /// the size of a page. Nothing that it learns so is believed: it reads page 1 next, as a whole.
    header_bytes = 100,
    /// Answered with the last refusal. SQLite keeps the numbers up to 100 for itself.
    refusal_control = 0x41505243,
    /// SQLITE_IOCAP_SUBPAGE_READ of later versions: parts of pages may be read. They may, but not cheaply.
    reads_parts = 0x8000,
};

/// A main database's file. The default VFS's own object follows in memory.
typedef struct checked_file {
    sqlite3_file base;
    sqlite3_file *real;
    /// One page, for what must not be changed in the caller's memory or is only partly asked for.
    uint8_t *buffer;
    int buffer_size;
    /// The size of the pages that were found intact or written, or 0.
    int page_size;
    int has_log;
    /// The largest size that SQLite has said the file will get, in bytes, before it wrote.
    int64_t promised_size;
    attune_page_refusal refusal;
} checked_file;

static const sqlite3_io_methods methods;

static int is_page_size(int64_t size) { return size >= 512 && size <= 65536 && (size & (size - 1)) == 0; }

/// The page size that page 1 states, or 0.
static int stated_page_size(const uint8_t *header) {
    const int stated = header[16] << 8 | header[17];
    // 65536 doesn't fit.
    return stated == 1 ? 65536 : is_page_size(stated) ? stated : 0;
}

static uint64_t checksum(const uint8_t *page, int size, int64_t number) {
    return XXH3_64bits_withSeed(page, (size_t)(size - reserved_bytes), (XXH64_hash_t)number);
}

static void seal(uint8_t *page, int size, int64_t number) {
    const uint64_t sum = checksum(page, size, number);
    for (int i = 0; i < reserved_bytes; i++) page[size - reserved_bytes + i] = (uint8_t)(sum >> (8 * i));
}

/// Whether it is what was written as this page. A page read in a wrong size isn't.
static int is_intact(const uint8_t *page, int size, int64_t number) {
    uint64_t sum = 0;
    for (int i = 0; i < reserved_bytes; i++) sum |= (uint64_t)page[size - reserved_bytes + i] << (8 * i);
    if (sum != checksum(page, size, number)) return 0;
    return number != 1 || (page[20] == reserved_bytes && stated_page_size(page) == size);
}

static int refuse(checked_file *file, int code, int64_t number, attune_page_reason reason) {
    static const char *const reasons[] = {"", "is damaged", "is missing", "has no checksum", "can't be written"};
    file->refusal = (attune_page_refusal){.page = number, .reason = reason};
    sqlite3_log(code, "%s: page %lld %s", ATTUNE_PAGE_CHECKSUMS_VFS, (long long)number, reasons[reason]);
    return code;
}

static int want_buffer(checked_file *file, int size) {
    if (file->buffer_size >= size) return SQLITE_OK;
    uint8_t *larger = sqlite3_realloc(file->buffer, size);
    if (!larger) return SQLITE_IOERR_NOMEM;
    file->buffer = larger;
    file->buffer_size = size;
    return SQLITE_OK;
}

// ---- what is left in pages

/// Whether page 1 on the disk says that the database has pointer maps (PRAGMA auto_vacuum), or can't be asked.
static int may_have_maps(checked_file *file) {
    uint8_t header[header_bytes];
    if (file->real->pMethods->xRead(file->real, header, header_bytes, 0) != SQLITE_OK) return 1;
    return memcmp(header, "SQLite format 3", 16) != 0 || (header[52] | header[53] | header[54] | header[55]) != 0;
}

/// Whether a page whose first byte is a B-tree page's is one. All the others begin otherwise, but for:
///
///   * overflow pages and the free list's, which begin with a page's number. Its first byte is 0 or 1 as long as the
///     database has fewer than 2 << 24 pages. With a log, SQLite says how many there will be before it writes any; it
///     doesn't where it makes a copy without one;
///   * pages of the free list's of which nothing is read;
///   * pointer maps, which begin with 1 to 5. They stand in fixed places, in a database that has them.
static int is_tree_page(checked_file *file, int size, int64_t number, int64_t end) {
    if (number == 1) return 1;
    if (!file->has_log) return 0;
    if ((end > file->promised_size ? end : file->promised_size) / size >= 2 << 24) return 0;
    // Every so many pages, from the second one on; or one further, where that would be the page of SQLite's locks.
    const int64_t past = (number - 2) % ((size - reserved_bytes) / 5 + 1), locks = 0x40000000 / size + 1;
    const int is_place_of_map = past == 0 || (past == 1 && number - 1 == locks);
    return !is_place_of_map || !may_have_maps(file);
}

/// Overwrites the room between a B-tree page's list of cells and its cells. SQLite gives nothing there a meaning. When it moves
/// cells to other pages it leaves them there, in spite of PRAGMA secure_delete, which is about freed cells and pages: those have
/// been overwritten. What doesn't make sense stays as it is.
static void clear_room(checked_file *file, uint8_t *page, int size, int64_t number, int64_t end) {
    const uint8_t *header = page + (number == 1 ? header_bytes : 0);
    const int type = header[0], is_leaf = type == 10 || type == 13;
    if (!is_leaf && type != 2 && type != 5) return;
    const int cells = header[3] << 8 | header[4];
    // 0 would be 65536, which is more than a page has here.
    const int content = header[5] << 8 | header[6];
    const int list = (int)(header - page) + (is_leaf ? 8 : 12), room = list + 2 * cells;
    if (room >= content || content > size - reserved_bytes) return;
    for (const uint8_t *cell = page + list; cell < page + room; cell += 2)
        if ((cell[0] << 8 | cell[1]) < content) return;
    if (is_tree_page(file, size, number, end)) memset(page + room, 0, (size_t)(content - room));
}

// ---- reading and writing

/// Reads a page into the buffer, or refuses it.
static int load_page(checked_file *file, int size, int64_t number) {
    int rc = want_buffer(file, size);
    if (rc != SQLITE_OK) return rc;
    // A connection that opens the database while the first one makes the log reads page 1 before it knows of the log,
    // so that nothing keeps a checkpoint from writing page 1 meanwhile (SQLite reads it again, once it knows). One
    // look isn't proof.
    for (int left = number == 1 ? 5 : 1;;) {
        rc = file->real->pMethods->xRead(file->real, file->buffer, size, (number - 1) * size);
        if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ) return rc;
        if (rc == SQLITE_OK && is_intact(file->buffer, size, number)) return SQLITE_OK;
        if (--left == 0) break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (rc == SQLITE_IOERR_SHORT_READ) return refuse(file, SQLITE_IOERR_DATA, number, ATTUNE_PAGE_MISSING);
    const int is_foreign =
        number == 1 && memcmp(file->buffer, "SQLite format 3", 16) == 0 && file->buffer[20] != reserved_bytes;
    return refuse(file, SQLITE_IOERR_DATA, number, is_foreign ? ATTUNE_PAGE_FOREIGN : ATTUNE_PAGE_DAMAGED);
}

/// Whatever isn't simply an intact page. That isn't damage yet:
///
///   * a part of a page. SQLite from 3.45 on reads long values so; the whole page is read and checked for it;
///   * page 1 in another size, when this connection opened an empty file which another one then made a database of.
///     SQLite takes the size from what it gets, and reads again;
///   * a page beyond the file's end, for which SQLite wants zeros: see below.
static int read_parts(checked_file *file, uint8_t *out, int amount, int64_t offset) {
    sqlite3_int64 end = 0;
    int rc = file->real->pMethods->xFileSize(file->real, &end);
    if (rc != SQLITE_OK) return rc;
    int size = file->page_size;
    if (offset >= end) {
        memset(out, 0, (size_t)amount);
        // Without a log, SQLite itself compares the file's length with the header's number of pages; it then reads
        // here only in a transaction that used a page, freed it without writing it, and uses it again. With a log, it
        // believes the log, and reads here what isn't in the log and was lost from the file.
        if (file->has_log)
            return refuse(file, SQLITE_IOERR_DATA, offset / (size ? size : amount) + 1, ATTUNE_PAGE_MISSING);
        return SQLITE_IOERR_SHORT_READ;
    }
    if (size == 0) {
        // If it isn't true, then there is no checksum where it says.
        uint8_t header[header_bytes];
        rc = file->real->pMethods->xRead(file->real, header, header_bytes, 0);
        if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ) return rc;
        size = stated_page_size(header);
        if (size == 0) return refuse(file, SQLITE_IOERR_DATA, 1, ATTUNE_PAGE_DAMAGED);
    }
    while (amount > 0) {
        const int64_t number = offset / size + 1, start = (number - 1) * size;
        if (start >= end) {
            memset(out, 0, (size_t)amount);
            return SQLITE_IOERR_SHORT_READ;
        }
        rc = load_page(file, size, number);
        if (rc != SQLITE_OK) return rc;
        const int skipped = (int)(offset - start), rest = size - skipped, part = amount < rest ? amount : rest;
        memcpy(out, file->buffer + skipped, (size_t)part);
        out += part;
        offset += part;
        amount -= part;
    }
    file->page_size = size;
    return SQLITE_OK;
}

static int checked_read(sqlite3_file *base, void *out, int amount, sqlite3_int64 offset) {
    checked_file *file = (checked_file *)base;
    const int rc = file->real->pMethods->xRead(file->real, out, amount, offset);
    if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ) return rc;
    if (offset + amount <= header_bytes) return rc;
    const int may_be_page = rc == SQLITE_OK && is_page_size(amount) && offset % amount == 0;
    if (may_be_page && is_intact(out, amount, offset / amount + 1)) {
        file->page_size = amount;
        return SQLITE_OK;
    }
    return read_parts(file, out, amount, offset);
}

static int checked_write(sqlite3_file *base, const void *page, int amount, sqlite3_int64 offset) {
    checked_file *file = (checked_file *)base;
    const uint8_t *bytes = page;
    // VACUUM to another page size and a copy over a database with another one would write in the old pages' size.
    int fits = is_page_size(amount) && offset % amount == 0;
    if (fits && offset == 0) fits = bytes[20] == reserved_bytes && stated_page_size(bytes) == amount;
    if (fits && offset != 0) fits = file->page_size == 0 || file->page_size == amount;
    if (!fits) {
        const int size = file->page_size ? file->page_size : amount;
        return refuse(file, SQLITE_IOERR_WRITE, offset / size + 1, ATTUNE_PAGE_NOT_WRITABLE);
    }
    int rc = want_buffer(file, amount);
    if (rc != SQLITE_OK) return rc;
    // A write beyond the end leaves a gap, of pages which are free and were never written. A copy reads them all the
    // same.
    sqlite3_int64 end = 0;
    rc = file->real->pMethods->xFileSize(file->real, &end);
    for (int64_t start = (end + amount - 1) / amount * amount; rc == SQLITE_OK && start < offset; start += amount) {
        memset(file->buffer, 0, (size_t)amount);
        seal(file->buffer, amount, start / amount + 1);
        rc = file->real->pMethods->xWrite(file->real, file->buffer, amount, start);
    }
    if (rc != SQLITE_OK) return rc;
    // In a copy, since the page may be in SQLite's cache, where readers of a shared cache look at it.
    memcpy(file->buffer, bytes, (size_t)amount);
    clear_room(file, file->buffer, amount, offset / amount + 1, end);
    seal(file->buffer, amount, offset / amount + 1);
    rc = file->real->pMethods->xWrite(file->real, file->buffer, amount, offset);
    if (rc == SQLITE_OK && offset == 0) file->page_size = amount;
    return rc;
}

static int checked_truncate(sqlite3_file *base, sqlite3_int64 size) {
    checked_file *file = (checked_file *)base;
    // What comes next may have other pages.
    if (size == 0) file->page_size = 0;
    return file->real->pMethods->xTruncate(file->real, size);
}

static int checked_file_control(sqlite3_file *base, int operation, void *argument) {
    checked_file *file = (checked_file *)base;
    switch (operation) {
    case refusal_control:
        *(attune_page_refusal *)argument = file->refusal;
        return SQLITE_OK;
    case SQLITE_FCNTL_MMAP_SIZE:
        // Mapped pages would be read without us: none, whatever was asked for.
        *(sqlite3_int64 *)argument = 0;
        return SQLITE_OK;
    case SQLITE_FCNTL_CHUNK_SIZE:
        // Grows the file by more than is written, by pages without checksums.
        return SQLITE_NOTFOUND;
    case SQLITE_FCNTL_SIZE_HINT:
        if (*(sqlite3_int64 *)argument > file->promised_size) file->promised_size = *(sqlite3_int64 *)argument;
        return file->real->pMethods->xFileControl(file->real, operation, argument);
    default: {
        const int rc = file->real->pMethods->xFileControl(file->real, operation, argument);
        if (operation == SQLITE_FCNTL_VFSNAME && rc == SQLITE_OK)
            *(char **)argument = sqlite3_mprintf("%s/%z", ATTUNE_PAGE_CHECKSUMS_VFS, *(char **)argument);
        return rc;
    }
    }
}

static int checked_close(sqlite3_file *base) {
    checked_file *file = (checked_file *)base;
    sqlite3_free(file->buffer);
    return file->real->pMethods->xClose(file->real);
}

// ---- handed on

static sqlite3_file *real_file(sqlite3_file *base) { return ((checked_file *)base)->real; }

#define HAND_ON(method, ...) return real_file(f)->pMethods->method(real_file(f), ##__VA_ARGS__)
static int checked_sync(sqlite3_file *f, int flags) { HAND_ON(xSync, flags); }
static int checked_file_size(sqlite3_file *f, sqlite3_int64 *size) { HAND_ON(xFileSize, size); }
static int checked_lock(sqlite3_file *f, int level) { HAND_ON(xLock, level); }
static int checked_unlock(sqlite3_file *f, int level) { HAND_ON(xUnlock, level); }
static int checked_check_reserved_lock(sqlite3_file *f, int *out) { HAND_ON(xCheckReservedLock, out); }
static int checked_sector_size(sqlite3_file *f) { HAND_ON(xSectorSize); }
static int checked_shm_lock(sqlite3_file *f, int offset, int n, int flags) { HAND_ON(xShmLock, offset, n, flags); }
static void checked_shm_barrier(sqlite3_file *f) { real_file(f)->pMethods->xShmBarrier(real_file(f)); }
static int checked_shm_unmap(sqlite3_file *f, int is_deleted) { HAND_ON(xShmUnmap, is_deleted); }
static int checked_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **out) {
    HAND_ON(xShmMap, region, size, extend, out);
}
#undef HAND_ON

static int checked_device_characteristics(sqlite3_file *base) {
    return real_file(base)->pMethods->xDeviceCharacteristics(real_file(base)) & ~reads_parts;
}

static const sqlite3_io_methods methods = {
    // Without version 3's xFetch, which hands out mapped pages.
    .iVersion = 2,
    .xClose = checked_close, .xRead = checked_read, .xWrite = checked_write, .xTruncate = checked_truncate,
    .xSync = checked_sync, .xFileSize = checked_file_size, .xLock = checked_lock, .xUnlock = checked_unlock,
    .xCheckReservedLock = checked_check_reserved_lock, .xFileControl = checked_file_control,
    .xSectorSize = checked_sector_size, .xDeviceCharacteristics = checked_device_characteristics,
    .xShmMap = checked_shm_map, .xShmLock = checked_shm_lock, .xShmBarrier = checked_shm_barrier,
    .xShmUnmap = checked_shm_unmap,
};

// ---- the VFS

static sqlite3_vfs *real_vfs(sqlite3_vfs *vfs) { return vfs->pAppData; }

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *flags_out) {
    sqlite3_vfs *real = real_vfs(vfs);
    if (!(flags & SQLITE_OPEN_MAIN_DB)) {
        if (flags & SQLITE_OPEN_WAL) {
            sqlite3_file *database = sqlite3_database_file_object(name);
            if (database->pMethods == &methods) ((checked_file *)database)->has_log = 1;
        }
        return real->xOpen(real, name, base, flags, flags_out);
    }
    checked_file *file = (checked_file *)base;
    memset(file, 0, (size_t)vfs->szOsFile);
    file->real = (sqlite3_file *)(file + 1);
    int rc = real->xOpen(real, name, file->real, flags, flags_out);
    // Version 1 can't have a log.
    if (rc == SQLITE_OK && file->real->pMethods->iVersion < 2) rc = SQLITE_CANTOPEN;
    if (rc == SQLITE_OK) {
        file->base.pMethods = &methods;
    } else if (file->real->pMethods) {
        file->real->pMethods->xClose(file->real);
    }
    return rc;
}

#define HAND_ON(method, ...) return real_vfs(v)->method(real_vfs(v), ##__VA_ARGS__)
static int shim_delete(sqlite3_vfs *v, const char *name, int sync) { HAND_ON(xDelete, name, sync); }
static int shim_access(sqlite3_vfs *v, const char *name, int flags, int *out) { HAND_ON(xAccess, name, flags, out); }
static int shim_full_name(sqlite3_vfs *v, const char *name, int n, char *out) { HAND_ON(xFullPathname, name, n, out); }
static void *shim_dl_open(sqlite3_vfs *v, const char *name) { HAND_ON(xDlOpen, name); }
static void shim_dl_error(sqlite3_vfs *v, int n, char *out) { real_vfs(v)->xDlError(real_vfs(v), n, out); }
static void (*shim_dl_sym(sqlite3_vfs *v, void *library, const char *name))(void) { HAND_ON(xDlSym, library, name); }
static void shim_dl_close(sqlite3_vfs *v, void *library) { real_vfs(v)->xDlClose(real_vfs(v), library); }
static int shim_randomness(sqlite3_vfs *v, int n, char *out) { HAND_ON(xRandomness, n, out); }
static int shim_sleep(sqlite3_vfs *v, int microseconds) { HAND_ON(xSleep, microseconds); }
static int shim_current_time(sqlite3_vfs *v, double *out) { HAND_ON(xCurrentTime, out); }
static int shim_last_error(sqlite3_vfs *v, int n, char *out) { HAND_ON(xGetLastError, n, out); }
static int shim_current_time_int64(sqlite3_vfs *v, sqlite3_int64 *out) { HAND_ON(xCurrentTimeInt64, out); }
#undef HAND_ON

static sqlite3_vfs shim = {
    .iVersion = 2,
    .zName = ATTUNE_PAGE_CHECKSUMS_VFS,
    .xOpen = shim_open, .xDelete = shim_delete, .xAccess = shim_access, .xFullPathname = shim_full_name,
    .xDlOpen = shim_dl_open, .xDlError = shim_dl_error, .xDlSym = shim_dl_sym, .xDlClose = shim_dl_close,
    .xRandomness = shim_randomness, .xSleep = shim_sleep, .xCurrentTime = shim_current_time,
    .xGetLastError = shim_last_error, .xCurrentTimeInt64 = shim_current_time_int64,
};

static void complete_shim(void) {
    sqlite3_vfs *real = sqlite3_vfs_find(NULL);
    if (!real || real->iVersion < 2) return;
    shim.pAppData = real;
    shim.mxPathname = real->mxPathname;
    shim.szOsFile = (int)sizeof(checked_file) + real->szOsFile;
}

int32_t attune_page_checksums_register(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, complete_shim);
    if (!shim.pAppData) return SQLITE_ERROR;
    // SQLite does this under its own lock, and nothing twice.
    return sqlite3_vfs_register(&shim, 0);
}

int32_t attune_page_checksums_reserve(sqlite3 *database) {
    attune_page_refusal refusal;
    if (sqlite3_file_control(database, "main", refusal_control, &refusal) != SQLITE_OK) return SQLITE_MISUSE;
    int bytes = reserved_bytes;
    return sqlite3_file_control(database, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes);
}

attune_page_refusal attune_page_checksums_refusal(sqlite3 *database, const char *schema) {
    attune_page_refusal refusal = {0};
    sqlite3_file_control(database, schema, refusal_control, &refusal);
    return refusal;
}

int32_t attune_page_checksums_first_bytes(sqlite3 *database, unsigned char *bytes, int32_t count) {
    sqlite3_file *file = NULL;
    int status = sqlite3_file_control(database, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (status != SQLITE_OK) return status;
    if (!file || !file->pMethods || count < 0 || count > 100) return SQLITE_MISUSE;
    return file->pMethods->xRead(file, bytes, count, 0);
}
