/// A user id as a key: equal when its bytes are.
///
/// Swift's strings are equal when their canonical forms are ("é" composed or decomposed), and would give two users of any
/// other system one adapter. The engine's hash, stores and journals go by bytes, so everything here does.
struct UserKey: Hashable, Sendable {
    let user: String

    init(_ user: String) { self.user = user }

    static func == (left: UserKey, right: UserKey) -> Bool {
        let (a, b) = (left.user.utf8.span, right.user.utf8.span)
        guard a.count == b.count else { return false }
        for i in a.indices where a[i] != b[i] { return false }
        return true
    }

    func hash(into hasher: inout Hasher) {
        unsafe user.utf8.span.withUnsafeBytes { unsafe hasher.combine(bytes: $0) }
    }
}

extension UserKey: Comparable {
    /// The order of the bytes, which is that of the Unicode scalars.
    static func < (left: UserKey, right: UserKey) -> Bool {
        left.user.utf8.lexicographicallyPrecedes(right.user.utf8)
    }
}
