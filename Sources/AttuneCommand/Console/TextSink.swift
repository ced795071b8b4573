#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Where text goes: a file descriptor, or memory in a test.
protocol TextSink: Sendable {
    /// Whether a person is watching, so that a line may be drawn over.
    var isTerminal: Bool { get }

    /// Writes all of the bytes, or says why not.
    func write(_ bytes: [UInt8]) -> OutputFailure?
}

/// Why output could not be delivered.
enum OutputFailure: Error, Sendable, Equatable {
    /// The reader closed its end of the pipe.
    case closed
    /// Anything else, in the system's words.
    case failed(String)
}

/// An open file descriptor that belongs to the process, such as standard output.
struct FileDescriptorSink: TextSink {
    let descriptor: Int32
    let isTerminal: Bool

    init(descriptor: Int32) {
        self.descriptor = descriptor
        let terminal = unsafe getenv("TERM").map { unsafe String(cString: $0) }
        isTerminal = isatty(descriptor) == 1 && terminal != "dumb"
    }

    func write(_ bytes: [UInt8]) -> OutputFailure? {
        unsafe bytes.withUnsafeBytes { buffer in
            var written = 0
            while written < buffer.count {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[written...])
                guard let start = rest.baseAddress else { break }
                #if canImport(Darwin)
                    let count = unsafe Darwin.write(descriptor, start, rest.count)
                #elseif canImport(Musl)
                    let count = unsafe Musl.write(descriptor, start, rest.count)
                #else
                    let count = unsafe Glibc.write(descriptor, start, rest.count)
                #endif
                if count >= 0 {
                    written += count
                    continue
                }
                switch errno {
                case EINTR: continue
                case EAGAIN:
                    // Someone made the shared descriptor non-blocking: wait until it takes more.
                    var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    _ = unsafe poll(&waiting, 1, -1)
                case EPIPE: return .closed
                case let code: return .failed(unsafe String(cString: strerror(code)))
                }
            }
            return nil
        }
    }
}
