#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Whether there is a folder at a path, or behind a link there.
func isFolder(_ path: String) -> Bool {
    var information = stat()
    return unsafe stat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFDIR
}

/// Whether there is a file at a path, or behind a link there: no folder, no device.
func isRegularFile(_ path: String) -> Bool {
    var information = stat()
    return unsafe stat(path, &information) == 0 && information.st_mode & S_IFMT == S_IFREG
}

/// Refuses a path where a command could not make its new file or folder, before there is any work.
///
/// - Throws: ``CommandFailure`` (`cannotCreate`) where something is there, or the folder is missing or may not be written to.
func requireNewOutput(_ path: String) throws(CommandFailure) {
    var information = stat()
    if unsafe lstat(path, &information) == 0 {
        throw CommandFailure(
            .cannotCreate, "there is something at \(printable(path)) already: name a new file or folder")
    }
    // A slash at the end belongs to a folder that is to be made.
    let name = path.lastIndex { $0 != "/" }.map { path[...$0] } ?? ""
    let folder = name.lastIndex(of: "/").map { String(name[...$0]) } ?? "."
    guard unsafe access(folder, W_OK | X_OK) == 0 else {
        let reason = unsafe String(cString: strerror(errno))
        throw CommandFailure(
            .cannotCreate, "can't create \(printable(path)): its folder can't be written to: \(reason)")
    }
}
