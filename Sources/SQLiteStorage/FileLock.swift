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
        // A process that was just forked has the descriptors of this one until it runs its own program: a lock that was let go may
        // be held for a moment longer.
        var attempts = 0
        var status = flock(descriptor, LOCK_EX | LOCK_NB)
        while status != 0, errno == EWOULDBLOCK || errno == EINTR, attempts < 50 {
            attempts += 1
            usleep(5000)
            status = flock(descriptor, LOCK_EX | LOCK_NB)
        }
        guard status == 0 else {
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

/// Refuses what is no file, before anything is made beside it or waits for it: a pipe would be waited for forever.
func refuseOtherKinds(_ path: String) throws(StorageError) {
    for suffix in ["", "-wal", "-shm", "-journal", "-lock"] {
        var found = stat()
        guard unsafe stat(path + suffix, &found) == 0, found.st_mode & S_IFMT != S_IFREG else { continue }
        let kind = found.st_mode & S_IFMT == S_IFDIR ? "a folder" : "a pipe, a device or a socket"
        throw StorageError(
            .notAStore, "open",
            suffix.isEmpty
                ? "it is \(kind): give the path of a file"
                : "what stands beside it under \(suffix) is \(kind): remove it",
            path: path)
    }
}

/// Refuses a file that was cut to nothing while its log has content: SQLite would take it for a new one and delete the log.
///
/// Nothing here opens the file: closing a descriptor of it would drop the locks that this process's other connections have.
func refuseCutFile(_ path: String) throws(StorageError) {
    var (file, log) = (stat(), stat())
    guard unsafe stat(path, &file) == 0, file.st_mode & S_IFMT == S_IFREG else { return }
    if file.st_size < 512, unsafe stat(path + "-wal", &log) == 0, log.st_size > 0 {
        throw StorageError(
            .damaged, "open",
            "the file has \(file.st_size) bytes, and its log (-wal) \(log.st_size): it was cut; restore a backup",
            path: path)
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
    } else if errno == EEXIST {
        // One that nobody has written to yet becomes private too.
        var found = stat()
        guard unsafe stat(path, &found) == 0, found.st_size == 0, found.st_mode & 0o077 != 0 else { return }
        guard unsafe chmod(path, 0o600) == 0 else {
            throw StorageError(
                .readOnly, "open", "the empty file cannot be made its owner's alone (errno \(errno))", path: path)
        }
    } else {
        throw StorageError(
            errno == ENOSPC ? .full : errno == ENOENT ? .missing : .readOnly, "open",
            "the file cannot be made (errno \(errno))", path: path)
    }
}

/// Whether a file lies on a disk that is mounted for reading, and has no log: SQLite could not make the files beside it, and needs
/// none.
func isUnchangeable(_ path: String) -> Bool {
    var (log, disk) = (stat(), statvfs())
    let hasLog = unsafe stat(path + "-wal", &log) == 0 && log.st_size > 0
    // ST_RDONLY.
    return unsafe statvfs(path, &disk) == 0 && disk.f_flag & 1 == 1 && !hasLog
}

/// The path without symbolic links, so that one file has one lock.
func resolved(_ path: String) -> String {
    func real(_ path: String) -> String? {
        guard let found = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(found) }
        return unsafe String(cString: found)
    }
    if let whole = real(path) { return whole }
    let slash = path.lastIndex(of: "/")
    let (folder, name) = slash.map { (String(path[...$0]), path[path.index(after: $0)...]) } ?? (".", path[...])
    return real(folder).map { ($0 == "/" ? "" : $0) + "/" + name } ?? path
}
