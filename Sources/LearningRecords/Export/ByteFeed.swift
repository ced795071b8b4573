/// Bytes of a file that come in pieces of any size.
struct ByteFeed: Sendable {
    private var bytes: [UInt8] = []
    private var position = 0
    private var marked = 0
    /// Whether no more will come.
    private(set) var isFinished = false

    /// Takes a piece. One behind the last is a mistake of the caller.
    ///
    /// - Complexity: O(bytes), and as many more as were given before and not read.
    mutating func append(_ more: [UInt8]) {
        precondition(!isFinished, "a finished reader was fed")
        if position == bytes.count {
            bytes = more
        } else {
            bytes.removeSubrange(..<position)
            bytes += more
        }
        position = 0
    }

    /// No more will come.
    mutating func finish() { isFinished = true }

    /// Forgets what was not read.
    mutating func clear() { (bytes, position) = ([], 0) }

    /// The next byte, unless more have to come.
    var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// Goes past the next byte.
    mutating func skip() { position += 1 }

    /// The bytes up to the next of those that are asked for, or up to the end of the piece.
    mutating func run(until isEnd: (UInt8) -> Bool) -> ArraySlice<UInt8> {
        let start = position
        while position < bytes.count, !isEnd(bytes[position]) { position += 1 }
        return bytes[start..<position]
    }

    /// Goes past a byte order mark at the beginning of the file.
    ///
    /// - Returns: Whether the file begins with none or a whole one, as far as can be told.
    mutating func skipByteOrderMark() -> Bool {
        let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        while marked < mark.count, let byte = current {
            guard byte == mark[marked] else {
                guard marked == 0 else { return false }
                marked = mark.count
                break
            }
            marked += 1
            position += 1
        }
        return !isFinished || marked == 0 || marked == mark.count
    }
}
