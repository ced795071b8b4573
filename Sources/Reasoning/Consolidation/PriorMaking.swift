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

    /// The most donors for a rank: their ranks add up to at most 2,400, so that a merge takes O(2400²·d) at most and
    /// fits into memory whatever the policy; but 8 in any case.
    func limit(rank: Int) -> Int { min(maximumDonors, max(8, 2400 / rank)) }

    /// The shrunk product merge of the first candidates who have an adapter of the kind, without those whose adapters are
    /// more than ``giant`` times the median's size.
    ///
    /// - Parameters:
    ///   - candidates: In order of preference.
    ///   - minimum: The fewest donors: with fewer, the merge would show too much of each. `nil` is returned then, and
    ///     when the donors have nothing in common.
    func merge(
        _ candidates: [UserDigest], kind: AdapterKind, minimum: Int, shrinkage: AdapterPrior.Shrinkage = .estimated
    ) async throws -> Made? {
        var found: [(user: UserDigest, adapter: LoRAAdapter)] = []
        let limit = limit(rank: kind.rank)
        for user in candidates where found.count < limit {
            try Task.checkCancellation()
            guard let adapter = try await donors.adapter(of: user) else { continue }
            // A user may have another kind of adapter by now; and a normalised map is no product.
            let shape = adapter.shape
            guard shape.dimension == kind.dimension, shape.rank == kind.rank, !shape.normalizesOutput else { continue }
            found.append((user, adapter))
        }
        found = Self.withoutGiants(found)
        guard found.count >= minimum else { return nil }
        // In one order whatever the preference, so that the same donors give the same bytes.
        found.sort { $0.user < $1.user }
        let prior = try await Self.merged(found.map(\.adapter), rank: kind.rank, shrinkage)
        return prior.isZero ? nil : Made(prior: prior, donors: found.map(\.user))
    }

    /// How many times the median's size an adapter may have.
    static let giant = 100.0

    /// Leaves out adapters far larger than the others: a mean with one that diverged would be that one's, and beyond the
    /// range of Float no merge could be made at all. The size is ‖A‖·‖B‖ with the
    /// scale, which bounds the product's norm, and that of the bias.
    private static func withoutGiants(
        _ found: [(user: UserDigest, adapter: LoRAAdapter)]
    ) -> [(user: UserDigest, adapter: LoRAAdapter)] {
        let sizes = found.map { donor in
            norm(donor.adapter.down.array) * norm(donor.adapter.up.array) * Double(donor.adapter.shape.scale)
                + norm(donor.adapter.bias ?? [])
        }
        // Adapters that have learned nothing say nothing of what is usual.
        let learned = sizes.filter { $0 > 0 }.sorted()
        guard !learned.isEmpty else { return found }
        let bound = giant * learned[learned.count / 2]
        return found.enumerated().filter { sizes[$0.offset] <= bound }.map(\.element)
    }

    private static func norm(_ values: [Float]) -> Double {
        values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    }

    /// Off the caller's actor: it takes a good part of a second for hundreds of donors.
    @concurrent
    private static func merged(_ adapters: [LoRAAdapter], rank: Int, _ shrinkage: AdapterPrior.Shrinkage) async throws
        -> AdapterPrior
    {
        try AdapterPrior(merging: adapters.map { ($0, 1) }, rank: rank, shrinkage: shrinkage)
    }

    /// Half the one, half the other.
    @concurrent
    static func blended(_ first: AdapterPrior, _ second: AdapterPrior, rank: Int) async throws -> AdapterPrior {
        try AdapterPrior(blending: [(first, 0.5), (second, 0.5)], rank: rank)
    }
}
