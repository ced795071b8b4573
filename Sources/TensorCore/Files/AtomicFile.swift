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
    package static func write(
        to path: String, _ body: (borrowing AtomicFile) throws(TensorFileError) -> Void
    ) throws(TensorFileError) {
        var random = SystemRandomNumberGenerator()
        let temporary = "\(path).\(String(random.next(), radix: 36)).tmp"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw .system("create a temporary file beside", path) }
        do throws(TensorFileError) {
            let file = AtomicFile(descriptor: descriptor, path: path)
            try body(file)
            guard fsync(descriptor) == 0 else { throw .system("sync", path) }
            guard unsafe rename(temporary, path) == 0 else { throw .system("put in place", path) }
        } catch {
            unsafe unlink(temporary)
            throw error
        }
        try syncDirectory(of: path)
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
