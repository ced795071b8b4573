public import LoRA
internal import TensorCore

extension PriorID {
    /// The identifier of a prior: a stable hash of its shape and all its numbers.
    public init(of prior: AdapterPrior) { self.init(prior.contentHash) }
}

/// Makes starts from donors' adapters.
struct PriorMaker: Sendable {
    let donors: any DonorSource
    let maximumDonors: Int

    /// A prior and those whose adapters went into it, ascending.
    struct Made: Sendable {
        var prior: AdapterPrior
        var donors: [UserDigest]
    }

    /// The largest dimension at which a merge may take all donors: its sum is formed in full then, with d² numbers and O(d³)
    /// for its decomposition, at 4,096 most of a gigabyte for minutes.
    static let largestFull = 4096

    /// The most donors for a kind: all that are allowed, but beyond ``largestFull`` so many that their ranks add up to at most
    /// 2,400, and 8 in any case.
    func limit(_ kind: AdapterKind) -> Int {
        kind.dimension <= Self.largestFull ? maximumDonors : min(maximumDonors, max(8, 2400 / kind.rank))
    }

    /// The shrunk product merge of the first candidates who have an adapter of the kind, without those whose adapters are
    /// more than ``giant`` times the median's size.
    ///
    /// Adapters are asked for twice, one at a time and without keeping them: for their sizes in the order of preference, then
    /// to be merged. Who has none of the kind any more the second time, or one that is too large by then, is left out.
    ///
    /// - Parameters:
    ///   - candidates: In order of preference.
    ///   - minimum: The fewest donors: with fewer, the merge would show too much of each. `nil` is returned then, and
    ///     when the donors have nothing in common.
    /// - Complexity: O(donors · (rank · d + d²) + d³), off the caller's actor; 24 bytes a donor beside the merger's.
    @concurrent
    func merge(
        _ candidates: [UserDigest], kind: AdapterKind, minimum: Int, shrinkage: AdapterPrior.Shrinkage = .estimated
    ) async throws -> Made? {
        var found: [(user: UserDigest, size: Double)] = []
        let limit = limit(kind)
        for user in candidates {
            guard found.count < limit else { break }
            if let adapter = try await adapter(of: user, kind) { found.append((user, adapter.productBound)) }
        }
        guard found.count >= minimum else { return nil }
        let largest = Self.largest(among: found.map(\.size))
        // In one order whatever the preference, so that the same donors give the same bytes.
        let chosen = found.filter { $0.size <= largest }.map(\.user).sorted()
        var merger = try AdapterMerger(dimension: kind.dimension)
        var merged: [UserDigest] = []
        for user in chosen {
            guard let adapter = try await adapter(of: user, kind), adapter.productBound <= largest else { continue }
            try merger.add(adapter)
            merged.append(user)
        }
        guard merged.count >= max(1, minimum) else { return nil }
        let prior = try merger.merged(rank: kind.rank, shrinkage: shrinkage)
        return prior.isZero ? nil : Made(prior: prior, donors: merged)
    }

    /// A user's adapter where it is of the kind: they may have another one by now; and a normalised map is no product.
    private func adapter(of user: UserDigest, _ kind: AdapterKind) async throws -> LoRAAdapter? {
        try Task.checkCancellation()
        guard let adapter = try await donors.adapter(of: user) else { return nil }
        let shape = adapter.shape
        guard shape.dimension == kind.dimension, shape.rank == kind.rank, !shape.normalizesOutput else { return nil }
        return adapter
    }

    /// How many times the median's size an adapter may have.
    static let giant = 100.0

    /// The largest size that is merged. A mean with an adapter far larger than the others, one that diverged, would be that
    /// one's, and beyond the range of Float no merge could be made at all.
    private static func largest(among sizes: [Double]) -> Double {
        // Adapters that have learned nothing say nothing of what is usual.
        let learned = sizes.filter { $0 > 0 }.sorted()
        return learned.isEmpty ? .infinity : giant * learned[learned.count / 2]
    }

    /// Half the one, half the other.
    @concurrent
    static func blended(_ first: AdapterPrior, _ second: AdapterPrior, rank: Int) async throws -> AdapterPrior {
        try AdapterPrior(blending: [(first, 0.5), (second, 0.5)], rank: rank)
    }
}
