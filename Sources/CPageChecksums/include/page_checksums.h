// A checksum in every page of a SQLite database, so that a page that was damaged on its way to the disk, there, or on
// its way back is never served: reading it fails with SQLITE_IOERR_DATA.
//
// It stands in the page's last 8 bytes, which SQLite leaves alone when the database's header says that 8 bytes of
// each page are reserved: XXH3-64 of the bytes before it, little endian, seeded with the page's number, so that a
// page in another page's place is seen too. Any SQLite can read such a file, without checking. One that writes to it
// leaves pages that are refused here.
//
// The checksums are made and checked by a VFS over the default one, on the way between SQLite and the database's own
// file. The write-ahead log and the journals go through untouched: SQLite has checksums of its own there, but looks
// at a log's only when it recovers, not at each read. A file that was cut to nothing is a new database.
//
// On the way to the file the unused part of a B-tree's pages is overwritten with zeros as well, in a database with a log:
// SQLite leaves copies there of what it has moved to other pages.
#pragma once
#include <stdint.h>

typedef struct sqlite3 sqlite3;

/// The VFS's name: sqlite3_open_v2's last argument, or vfs=... in a URI.
#define ATTUNE_PAGE_CHECKSUMS_VFS "attune-checksums"

/// Registers the VFS, not as the default one. Any number of times, from any thread. Returns a SQLite result code.
int32_t attune_page_checksums_register(void);

/// Asks for the reserved bytes in a database that has no page yet. For a connection that was opened with the VFS (if
/// it wasn't: SQLITE_MISUSE), before its first statement other than PRAGMA page_size. Changes nothing in a database
/// that has pages: one that was made without checksums is refused when its first page is read. Without this call, the
/// first write to a new database fails with SQLITE_IOERR_WRITE. Returns a SQLite result code.
int32_t attune_page_checksums_reserve(sqlite3 *_Nonnull database);

/// Why a page was refused.
typedef enum attune_page_reason : int32_t {
    /// None was.
    ATTUNE_PAGE_NOT_REFUSED = 0,
    /// The bytes aren't those that were written here, or were written by a SQLite without this VFS.
    ATTUNE_PAGE_DAMAGED = 1,
    /// The file ends before or within the page.
    ATTUNE_PAGE_MISSING = 2,
    /// The header says that the database has no checksums.
    ATTUNE_PAGE_FOREIGN = 3,
    /// A write in another page size, or to a database made without attune_page_checksums_reserve.
    ATTUNE_PAGE_NOT_WRITABLE = 4,
} attune_page_reason;

/// The page that was refused last, counted from 1, and why.
typedef struct attune_page_refusal {
    int64_t page;
    attune_page_reason reason;
} attune_page_refusal;

/// What was refused last in a connection's database ("main", or as attached), for an error's message. Nothing for a
/// database without the VFS.
attune_page_refusal attune_page_checksums_refusal(sqlite3 *_Nonnull database, const char *_Nonnull schema);

/// Reads the first bytes of an open database's file, 100 at most, through SQLite's own descriptor: closing another one
/// would drop the locks that this process has on the file.
///
/// Returns SQLITE_OK, SQLITE_IOERR_SHORT_READ where the file is shorter (the rest is zero), or another status.
int32_t attune_page_checksums_first_bytes(sqlite3 *_Nonnull database, unsigned char *_Nonnull bytes, int32_t count);
