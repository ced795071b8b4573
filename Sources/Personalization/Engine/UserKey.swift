#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A user id (or, in a data folder, an item id) as a key: equal when its bytes are.
///
/// Swift's strings are equal when their canonical forms are ("é" composed or decomposed), and would give two users of any
/// other system one adapter. The engine's hash, stores and journals go by bytes, so everything here does.
package struct UserKey: Hashable, Sendable {
    package let user: String
    /// A hash of the bytes, seeded anew in each process: whoever chooses ids cannot make them collide.
    let hash: Int

    /// A key with a hash of its own: how tests make two collide.
    init(_ user: String, hash: Int) {
        self.user = user
        self.hash = hash
    }

    package init(_ user: String) {
        self.user = user
        var hasher = Hasher()
        unsafe user.utf8.span.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
        hash = hasher.finalize()
    }

    package static func == (left: UserKey, right: UserKey) -> Bool {
        left.hash == right.hash && left.hasBytes(of: right.user)
    }

    /// Whether the id's bytes are those of another one.
    func hasBytes(of other: String) -> Bool {
        // The usual case, and much sooner known: the very same string, as those of a slot and of its handles are.
        typealias Words = (UInt64, UInt64)
        if MemoryLayout<String>.size == MemoryLayout<Words>.size,
            unsafe unsafeBitCast(user, to: Words.self) == unsafeBitCast(other, to: Words.self)
        {
            return true
        }
        let (a, b) = (user.utf8.span, other.utf8.span)
        guard a.count == b.count else { return false }
        return unsafe a.withUnsafeBytes { a in
            unsafe b.withUnsafeBytes { b in
                guard let first = a.baseAddress, let second = b.baseAddress else { return true }
                return unsafe memcmp(first, second, a.count) == 0
            }
        }
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(hash) }
}

extension UserKey: Comparable {
    /// The order of the bytes, which is that of the Unicode scalars.
    package static func < (left: UserKey, right: UserKey) -> Bool {
        left.user.utf8.lexicographicallyPrecedes(right.user.utf8)
    }
}
