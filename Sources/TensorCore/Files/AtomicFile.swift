#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Writes a file so that its path shows either what was there before or all of the new bytes, also after a power failure.
///
/// The bytes go to a temporary file beside the target, which is synced, renamed over the target, and the directory synced.
/// After an error the temporary file is gone and the target as before (unless the last step failed: then the new file is in
/// place but may not survive a power failure). A symbolic link at the path is replaced, not followed.
package struct AtomicFile: ~Copyable {
    private let descriptor: Int32
    private let path: String

    private init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { close(descriptor) }

    /// Creates the temporary file, lets `body` write it, and puts it at `path`.
    ///
    /// - Parameters:
    ///   - isPrivate: Whether its owner alone may read it, from the beginning on.
    ///   - isSynced: Whether it survives a power failure from then on. Otherwise it does some seconds later, and until then may
    ///     not be there, or be empty.
    package static func write(
        to path: String, isPrivate: Bool = false, isSynced: Bool = true,
        _ body: (borrowing AtomicFile) throws(TensorFileError) -> Void
    ) throws(TensorFileError) {
        let temporary = try temporary(beside: path, isPrivate, isSynced: isSynced, body)
        guard unsafe rename(temporary, path) == 0 else {
            let error = TensorFileError.system("put in place", path)
            unsafe unlink(temporary)
            throw error
        }
        if isSynced { try syncDirectory(of: path) }
    }

    /// Replaces two files of one folder that are read together, the first of which is of no use without the second.
    ///
    /// Both are written beside their places and synced before anything changes there. Then the old second file is
    /// removed, the first one put in place and then the second. So at any moment, a power failure included, the folder
    /// holds the old pair, the new pair, or a first file without its second; never one half of each.
    package static func write(
        first: (path: String, bytes: [UInt8]), second: (path: String, bytes: [UInt8]), isPrivate: Bool = false
    ) throws(TensorFileError) {
        let one = try temporary(beside: first.path, isPrivate) { file throws(TensorFileError) in
            try file.append(first.bytes)
        }
        do throws(TensorFileError) {
            let two = try temporary(beside: second.path, isPrivate) { file throws(TensorFileError) in
                try file.append(second.bytes)
            }
            do throws(TensorFileError) {
                guard unsafe unlink(second.path) == 0 || errno == ENOENT else { throw .system("replace", second.path) }
                // Else the removal could be lost to a power failure that the renaming of the first survives.
                try syncDirectory(of: second.path)
                guard unsafe rename(one, first.path) == 0 else { throw .system("put in place", first.path) }
                try syncDirectory(of: first.path)
                guard unsafe rename(two, second.path) == 0 else { throw .system("put in place", second.path) }
            } catch {
                unsafe unlink(two)
                throw error
            }
        } catch {
            unsafe unlink(one)
            throw error
        }
        try syncDirectory(of: second.path)
    }

    /// Makes a folder where there is none; its parent must be there.
    package static func makeFolder(_ path: String) throws(TensorFileError) {
        guard unsafe mkdir(path, 0o777) == 0 || errno == EEXIST else { throw .system("create the folder of", path) }
    }

    /// Creates a temporary file beside `path` and lets `body` write it; it is synced, and gone after an error.
    private static func temporary(
        beside path: String, _ isPrivate: Bool, isSynced: Bool = true,
        _ body: (borrowing AtomicFile) throws(TensorFileError) -> Void
    ) throws(TensorFileError) -> String {
        var random = SystemRandomNumberGenerator()
        let temporary = "\(path).\(String(random.next(), radix: 36)).tmp"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, isPrivate ? 0o600 : 0o666)
        guard descriptor >= 0 else { throw .system("create a temporary file beside", path) }
        do throws(TensorFileError) {
            let file = AtomicFile(descriptor: descriptor, path: path)
            try body(file)
            guard !isSynced || fsync(descriptor) == 0 else { throw .system("sync", path) }
        } catch {
            unsafe unlink(temporary)
            throw error
        }
        return temporary
    }

    /// Appends bytes.
    package borrowing func append(_ bytes: [UInt8]) throws(TensorFileError) {
        var done = 0
        while done < bytes.count {
            let put = unsafe bytes.withUnsafeBytes { memory in
                unsafe writeSome(descriptor, memory.baseAddress.map { unsafe $0 + done }, bytes.count - done)
            }
            if put > 0 {
                done += put
            } else if put == 0 || errno != EINTR {
                throw .system("write", path)
            }
        }
    }

    /// Appends numbers in the given format, 64 KiB at a time.
    package borrowing func append<Element: TensorScalar>(
        _ elements: Span<Element>, as format: FloatFormat
    ) throws(TensorFileError) {
        let step = 65_536 / format.byteCount
        var bytes: [UInt8] = []
        var start = 0
        while start < elements.count {
            let end = min(start + step, elements.count)
            bytes.removeAll(keepingCapacity: true)
            format.append(elements.extracting(start..<end), to: &bytes)
            try append(bytes)
            start = end
        }
    }

    private static func syncDirectory(of path: String) throws(TensorFileError) {
        let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let descriptor = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system("sync the directory of", path) }
        defer { close(descriptor) }
        // Some file systems do not sync directories and say EINVAL.
        guard fsync(descriptor) == 0 || errno == EINVAL else { throw .system("sync the directory of", path) }
    }
}

/// `write(2)`, whose name ``AtomicFile/write(to:_:)`` shadows.
private func writeSome(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    unsafe write(descriptor, bytes, count)
}
