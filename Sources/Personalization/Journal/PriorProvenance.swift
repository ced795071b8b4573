/// Somebody whose adapter was merged into a prior, and which state of it.
public struct PriorDonor: Sendable, Hashable {
    /// Whose adapter it was.
    public var user: String
    /// The adapter's version when it was merged.
    public var version: UInt64

    /// A donor.
    public init(user: String, version: UInt64) {
        self.user = user
        self.version = version
    }
}

/// A prior that a user's adapter was merged into, as a journal knows it.
public struct DerivedPrior: Sendable, Hashable {
    /// The hash of the prior's bytes, by which entries name it (``JournalContent/hash``).
    public var hash: UInt64
    /// The highest version of the user's adapter that was merged; 0 where that adapter was removed since.
    public var version: UInt64
    /// Whether something that it contains was forgotten before.
    public var isStale: Bool
    /// The users who started from it, ascending; they may have no adapter any more.
    public var starters: [String]

    /// What a journal knows of a prior.
    public init(hash: UInt64, version: UInt64, isStale: Bool, starters: [String]) {
        self.hash = hash
        self.version = version
        self.isStale = isStale
        self.starters = starters
    }
}

/// A prior that contains what was forgotten. The engine gives it to no new user; merge again.
///
/// Those who started from it keep what they have: the journal keeps the prior's bytes, so that their adapters can be replayed.
public struct StalePrior: Sendable, Hashable {
    /// The hash of the prior's bytes, by which entries name it (``JournalContent/hash``).
    public var hash: UInt64
    /// The users who started from it and have an adapter still, ascending: they have learned from what was forgotten, through the
    /// prior. Who starts from it while it is being forgotten may be missing.
    public var users: [String]

    /// A stale prior.
    public init(hash: UInt64, users: [String]) {
        self.hash = hash
        self.users = users
    }
}

extension StalePrior {
    /// Those of a user's priors that contain what was learned at a version, or anything of the user for 0.
    ///
    /// - Parameter present: The users with an adapter; not called where nobody has started from one of them.
    package static func all(
        in priors: [DerivedPrior], learnedAt version: UInt64 = 0, without user: String? = nil,
        present: () async throws -> [String]
    ) async throws -> [StalePrior] {
        let concerned = priors.filter { $0.version >= version }
        guard concerned.contains(where: { !$0.starters.isEmpty }) else {
            return concerned.map { StalePrior(hash: $0.hash, users: []) }
        }
        var known = Set(try await present().map { UserKey($0) })
        if let user { known.remove(UserKey(user)) }
        return concerned.map { prior in
            StalePrior(hash: prior.hash, users: prior.starters.filter { known.contains(UserKey($0)) })
        }
    }
}
