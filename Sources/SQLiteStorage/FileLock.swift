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

/// Refuses a file that was cut to nothing while its log has content: SQLite would take it for a new one and delete the log.
func refuseCutFile(_ path: String) throws(StorageError) {
    var (file, log) = (stat(), stat())
    guard unsafe stat(path, &file) == 0, file.st_size < 512, unsafe stat(path + "-wal", &log) == 0, log.st_size > 0
    else { return }
    throw StorageError(
        .damaged, "open",
        "the file has \(file.st_size) bytes, and its log (-wal) \(log.st_size): it was cut; restore a backup",
        path: path)
}
