#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Where a reader takes its bytes from: a regular file opened once, or memory.
///
/// Files are read with `pread`, not mapped. A page of a mapping whose file someone truncates raises SIGBUS in whatever thread
/// touches it, and Swift has no way to turn that into an error; `pread` returns fewer bytes, which is reported. It also costs
/// less where it matters: a cold page comes in at about 300 µs through a fault and 70 µs through `pread`. Only the bytes asked
/// for are read, so a tensor can be had from a file larger than the memory.
package struct ByteSource: Sendable {
    private enum Kind: Sendable {
        case memory([UInt8])
        case file(OpenFile)
    }

    /// Closes the descriptor with the last reader. `pread` keeps no position, so any number of threads may read.
    private final class OpenFile: Sendable {
        let descriptor: Int32
        init(descriptor: Int32) { self.descriptor = descriptor }
        deinit { close(descriptor) }
    }

    private let kind: Kind
    /// The file's path, or the name of the bytes.
    package let path: String
    /// The size in bytes, of a file when it was opened.
    package let count: Int

    /// Bytes in memory, under a name for error messages.
    package init(bytes: [UInt8], name: String) {
        kind = .memory(bytes)
        path = name
        count = bytes.count
    }

    /// The file at `path`, which must be a regular file.
    package init(path: String) throws(TensorFileError) {
        // Non-blocking, so that opening a FIFO comes back and is refused below.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .system("open", path) }
        let file = OpenFile(descriptor: descriptor)
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw .system("examine", path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw TensorFileError(.inputOutput, path: path, "not a regular file")
        }
        kind = .file(file)
        self.path = path
        count = Int(status.st_size)
    }

    /// The bytes in `range`, which must lie inside the source.
    package func bytes(_ range: Range<Int>) throws(TensorFileError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: range.count)
        try read(at: range.lowerBound, into: &result, count: range.count)
        return result
    }

    /// Overwrites the first `length` bytes of `buffer` with those from `offset` on, which must lie inside the source.
    package func read(at offset: Int, into buffer: inout [UInt8], count length: Int) throws(TensorFileError) {
        precondition(
            offset >= 0 && length >= 0 && length <= buffer.count && offset <= count && length <= count - offset,
            "ByteSource: \(length) bytes at \(offset) lie outside \(count)")
        switch kind {
        case .memory(let bytes):
            buffer.replaceSubrange(0..<length, with: bytes[offset..<offset + length])
        case .file(let file):
            var done = 0
            while done < length {
                let got = unsafe buffer.withUnsafeMutableBytes { memory in
                    unsafe pread(
                        file.descriptor, memory.baseAddress.map { unsafe $0 + done }, length - done,
                        off_t(offset + done))
                }
                if got > 0 {
                    done += got
                } else if got == 0 {
                    throw TensorFileError(
                        .dataTooShort, path: path, byteOffset: offset + done,
                        "the file ends here, though it had \(count) bytes when it was opened: it was truncated meanwhile"
                    )
                } else if errno != EINTR {
                    throw .system("read", path)
                }
            }
        }
    }
}

extension TensorFileError {
    /// The error for the system call that has just failed.
    static func system(_ verb: String, _ path: String) -> TensorFileError {
        let number = errno
        // strerror's buffer is shared between threads; strerror_r (here the POSIX one) fills ours.
        var buffer = [CChar](repeating: 0, count: 128)
        _ = unsafe strerror_r(number, &buffer, buffer.count)
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return TensorFileError(.inputOutput, path: path, "cannot \(verb) the file: \(text) (errno \(number))")
    }
}
