#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The right to write to a storage file: one process, and in it one storage, has it at a time.
///
/// `flock` on a file beside it, which stays there. SQLite's own locks are no help: they are held for a transaction at a time,
/// and closing any descriptor of the database file would drop them.
final class FileLock: Sendable {
    private let descriptor: Int32

    init(_ path: String) throws(StorageError) {
        let file = path + "-lock"
        let descriptor = unsafe open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            let code: StorageError.Code = errno == EACCES || errno == EROFS || errno == EPERM ? .readOnly : .missing
            throw StorageError(
                errno == ENOSPC ? .full : code, "open", "the lock beside it cannot be opened (errno \(errno))",
                path: path)
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let number = errno
            close(descriptor)
            throw StorageError(
                number == EWOULDBLOCK ? .inUse : .inputOutput, "open",
                "another process, or another storage in this one, writes to it (errno \(number)): close that first, or open "
                    + "it for reading only", path: path)
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }
}

/// Refuses what SQLite would take for a database and is none: a file of something else, and one that was cut to nothing while its
/// log has content, which SQLite would take for a new one and delete the log.
func refuseOtherFiles(_ path: String) throws(StorageError) {
    var (file, log) = (stat(), stat())
    guard unsafe stat(path, &file) == 0, file.st_mode & S_IFMT == S_IFREG else { return }
    if file.st_size < 512, unsafe stat(path + "-wal", &log) == 0, log.st_size > 0 {
        throw StorageError(
            .damaged, "open",
            "the file has \(file.st_size) bytes, and its log (-wal) \(log.st_size): it was cut; restore a backup",
            path: path)
    }
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    // What cannot be opened is told by SQLite.
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var start = [UInt8](repeating: 0, count: 16)
    let count = unsafe read(descriptor, &start, start.count)
    if count > 0, Array(start.prefix(count)) != Array("SQLite format 3\0".utf8) {
        throw StorageError(.notAStore, "open", "the file is no database, or its first bytes are damaged", path: path)
    }
}

/// Makes an empty file that only its owner may read, where there is none: it will hold what users did. SQLite gives the files
/// beside it the same rights.
func makePrivateFile(_ path: String) throws(StorageError) {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    if descriptor >= 0 {
        close(descriptor)
        // Its name is to survive a power failure as well.
        let folder = unsafe open(path.lastIndex(of: "/").map { String(path[...$0]) } ?? ".", O_RDONLY | O_CLOEXEC)
        guard folder >= 0 else { return }
        defer { close(folder) }
        guard fsync(folder) == 0 else {
            throw StorageError(.inputOutput, "open", "the folder cannot be synced (errno \(errno))", path: path)
        }
    } else if errno != EEXIST {
        throw StorageError(
            errno == ENOSPC ? .full : errno == ENOENT ? .missing : .readOnly, "open",
            "the file cannot be made (errno \(errno))", path: path)
    }
}

/// Whether nobody can write to a file's folder, and the file has no log: SQLite could not make the files beside it, and needs none.
func isUnchangeable(_ path: String) -> Bool {
    let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    var log = stat()
    let hasLog = unsafe stat(path + "-wal", &log) == 0 && log.st_size > 0
    return unsafe access(folder, W_OK) != 0 && !hasLog
}
