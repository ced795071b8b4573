internal import CPageChecksums
internal import CSQLite
internal import Dispatch

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension SQLiteStorage {
    /// Copies the file as it is at one moment, while updates go on; the copy appears whole or not at all. To restore, put the copy
    /// in the file's place while nobody has it open, without the old `-wal` and `-shm`.
    ///
    /// - Parameters:
    ///   - destination: A path where nothing is. What comes to be there while the copy is made stays.
    ///   - progress: Told of the pages done and of all.
    /// - Throws: ``StorageError``: `exists` where something is at the destination already; `missing` where its folder is not there;
    ///   `full`, `readOnly`, `damaged`.
    public func backup(
        to destination: String, progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }
    ) async throws {
        let path = path
        try await Worker.opening("attune.storage.backup") {
            // The last step looks too; this one comes before the work.
            var existing = stat()
            guard unsafe lstat(destination, &existing) != 0 else { throw NewName.taken(destination) }
            // No two have the same, in this process either.
            let number = String(UInt64.random(in: 0...(.max)), radix: 36)
            let partial = destination + ".partial-\(getpid())-\(number)"
            do {
                try makePrivateFile(partial)
                let source = try Connection(
                    path: path, flags: SQLITE_OPEN_READONLY,
                    isImmutable: self.access == .reading && isUnchangeable(path))
                try source.copyWhole(to: partial, progress)
                try NewName.give(destination, to: partial)
            } catch {
                for suffix in ["", "-wal", "-shm", "-journal"] { unsafe unlink(partial + suffix) }
                throw error
            }
        }
    }

    /// Rewrites the file without the room that deleted rows have left.
    ///
    /// SQLite writes the new file's pages to a file without a name in the folder for temporary files (`SQLITE_TMPDIR`, else
    /// `TMPDIR`, else `/var/tmp`), then to the log beside the file, then into the file: each needs room for all that is stored.
    ///
    /// - Returns: Its size in bytes before and after.
    /// - Throws: ``StorageError``; `full` where there is no room, with nothing changed; `locked` while somebody reads for longer than
    ///   two seconds: the file is rewritten then, but what it was and the log take room until they are done, and this is called again.
    @discardableResult
    public func compact() async throws -> (before: Int64, after: Int64) {
        try refuseReading("compact")
        let health = health
        @Sendable func size(_ connection: Connection) throws -> Int64 {
            (try connection.integer("PRAGMA page_count") ?? 0) * (try connection.integer("PRAGMA page_size") ?? 0)
        }
        return try await writer.run("compact", path) { connection in
            try health.check("compact")
            do {
                let before = try size(connection)
                try connection.vacuum()
                guard try connection.emptyLog() else {
                    throw StorageError(
                        .locked, "compact",
                        "the new pages stand in the log, and not yet in the file, because somebody reads it: call again",
                        path: connection.path)
                }
                connection.dropPages()
                return (before, try size(connection))
            } catch {
                health.note(error)
                throw error
            }
        }
    }
}

extension Connection {
    /// Rewrites the database; all of it or nothing.
    fileprivate func vacuum() throws(StorageError) {
        // The copy is as large as the file: on the disk, not in memory.
        try execute("PRAGMA temp_store = FILE")
        let result = Result { () throws(StorageError) in try execute("VACUUM") }
        try execute("PRAGMA temp_store = MEMORY")
        try result.get()
    }

    /// Copies the database as a reader sees it at one moment to a new file.
    fileprivate func copyWhole(to destination: String, _ progress: (Int, Int) -> Void) throws {
        let copy = try Connection(path: destination, flags: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)
        // One transaction that reads: without it a change by another process would begin the copy anew.
        try execute("BEGIN")
        defer { rollback() }
        _ = try integer("SELECT count(*) FROM sqlite_schema")
        guard let task = unsafe sqlite3_backup_init(copy.raw, "main", raw, "main") else {
            throw copy.failure("backup", unsafe sqlite3_errcode(copy.raw))
        }
        var status = SQLITE_OK
        while status == SQLITE_OK {
            status = unsafe sqlite3_backup_step(task, 4096)
            let all = Int(unsafe sqlite3_backup_pagecount(task))
            progress(all - Int(unsafe sqlite3_backup_remaining(task)), all)
        }
        let end = unsafe sqlite3_backup_finish(task)
        guard status == SQLITE_DONE, end == SQLITE_OK else {
            let failed = status == SQLITE_DONE ? end : status
            throw (hasFailedReading(failed) ? self : copy).failure("backup", failed)
        }
        copy.close()
    }

    /// Whether a failure of a copy is this file's, which is read, and not the copy's: SQLite tells of both at the copy.
    private func hasFailedReading(_ status: Int32) -> Bool {
        guard let raw = unsafe raw else { return false }
        if unsafe attune_page_checksums_refusal(raw, "main").reason != ATTUNE_PAGE_NOT_REFUSED { return true }
        // SQLITE_IOERR_READ and SQLITE_IOERR_SHORT_READ: of the copy nothing is read that was not written there before.
        return [SQLITE_IOERR | (1 << 8), SQLITE_IOERR | (2 << 8)].contains(status)
    }
}

/// How a file that is done gets its name, where no other file has it.
enum NewName {
    static func taken(_ name: String) -> StorageError {
        StorageError(.exists, "backup", "there is a file already: name a new one", path: name)
    }

    /// Gives a file another name in its folder, in one step that fails where something has the name.
    ///
    /// By a hard link; on a file system without them by an empty file, which only one can make, and which is then replaced.
    ///
    /// - Parameter hasLinks: Whether hard links are tried.
    static func give(_ name: String, to partial: String, hasLinks: Bool = true) throws(StorageError) {
        if hasLinks {
            if unsafe link(partial, name) == 0 {
                unsafe unlink(partial)
                return
            }
            if errno == EEXIST { throw taken(name) }
        }
        let descriptor = unsafe open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if descriptor < 0, errno == EEXIST { throw taken(name) }
        guard descriptor >= 0 else { throw failure(name) }
        close(descriptor)
        guard unsafe rename(partial, name) == 0 else {
            let failure = failure(name)
            unsafe unlink(name)
            throw failure
        }
    }

    private static func failure(_ name: String) -> StorageError {
        StorageError(.inputOutput, "backup", "the copy cannot be given its name (errno \(errno))", path: name)
    }
}
