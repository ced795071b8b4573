package import LoRA
internal import TensorCore

// How a bank that outlives its process keeps what it made. Priors stand elsewhere, under the hash of their bytes; trials too.

/// A start's prior under the hash of its bytes.
package struct KeptPrior: Sendable, Hashable {
    package var hash: UInt64
    package var bytes: [UInt8]

    package init(_ prior: AdapterPrior) {
        bytes = prior.encoded()
        hash = Checksum.of(bytes[...])
    }
}

extension UserTrial {
    /// Everything but the user and the settings of the bank.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 320)
        writer.append(short: UInt(sums.episodes))
        writer.append(sums.gain)
        writer.append(sums.benefit)
        writer.append(UInt8(sums.arms.count))
        for (index, arm) in sums.arms {
            writer.append(Int8(index))
            writer.append(short: UInt(arm.episodes))
            writer.append(arm.gain)
            writer.append(arm.benefit)
        }
        if let taste { writer.append(taste) }
        return writer.bytes
    }

    /// A trial as it was; `nil` for bytes that are none.
    package init?(encoded bytes: [UInt8], user: UserDigest, _ configuration: ReasoningBankConfiguration) {
        var reader = ByteReader(bytes)
        var sums = UserSums()
        guard let episodes = reader.takeCount(), let gain: Int64 = reader.take(), let benefit: Int64 = reader.take(),
            let arms: UInt8 = reader.take(), UserSums.isPossible(episodes, gain, benefit)
        else { return nil }
        (sums.episodes, sums.gain, sums.benefit) = (episodes, gain, benefit)
        for _ in 0..<arms {
            guard let index: Int8 = reader.take(), RateGrid.indices.contains(Int(index)),
                let episodes = reader.takeCount(), let gain: Int64 = reader.take(), let benefit: Int64 = reader.take(),
                UserSums.isPossible(episodes, gain, benefit)
            else { return nil }
            sums.arms[Int(index)] = UserSums.Arm(episodes: episodes, gain: gain, benefit: benefit)
        }
        var taste: [Float]?
        if reader.remaining > 0 {
            guard let found = reader.takeDirection() else { return nil }
            taste = found
        }
        guard reader.remaining == 0 else { return nil }
        self.init(
            user: user, sums: sums, taste: taste, criterion: configuration.criterion,
            margin: configuration.successMargin)
    }
}

extension SkillRecord {
    private static let format: UInt8 = 1

    /// Everything but the identifier, the kind, the prior and the members.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 512)
        writer.append(Self.format)
        writer.append(policy)
        writer.append(skill.centroid)
        writer.append(skill.initialization.map(\.prior))
        writer.append(skill.donors)
        writer.append(populationDonors)
        writer.append(skill.learningRate)
        writer.append(skill.evidence)
        writer.append(skill.updatedAt.microseconds)
        return writer.bytes
    }

    /// A skill as it was, with members whose trials are not known; `nil` for bytes that are none.
    ///
    /// - Parameter prior: Gives a prior by the hash of its bytes.
    package init?(
        encoded bytes: [UInt8], id: SkillID, kind: AdapterKind, members: [UserDigest],
        prior: (UInt64) throws -> AdapterPrior?
    ) rethrows {
        var reader = ByteReader(bytes)
        guard reader.take(UInt8.self) == Self.format, let policy = reader.takePolicy(),
            let centroid = reader.takeDirection(), let hash = reader.takeHash(), let donors = reader.takeDigests(),
            let populationDonors = reader.takeDigests(), let rate = reader.takeFloat(),
            let evidence = reader.takeEvidence(), let updated: Int64 = reader.take(), reader.remaining == 0
        else { return nil }
        var start: Initialization?
        if let hash {
            guard let found = try prior(hash) else { return nil }
            start = Initialization(id: PriorID(of: found), prior: found, skill: id)
        }
        self.init(
            skill: Skill(
                id: id, kind: kind, centroid: centroid, initialization: start, donors: donors, learningRate: rate,
                evidence: evidence, updatedAt: Timestamp(microseconds: updated)),
            members: members.map { UserTrial(user: $0) }, populationDonors: populationDonors, policy: policy)
    }

    /// The record without what only making it again asks for: who its members are is left of them.
    package var withoutTrials: SkillRecord {
        var record = self
        record.members = members.map { UserTrial(user: $0.user) }
        return record
    }
}

extension PopulationRecord {
    private static let format: UInt8 = 1

    /// Everything but the priors and the trials.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 512)
        writer.append(Self.format)
        writer.append(policy)
        writer.append(donors)
        writer.append(initialization.map(\.prior))
        writer.append(short: UInt(local.count))
        for start in local {
            writer.append(start.centroid)
            writer.append(start.donors)
            writer.append(start.initialization.prior)
        }
        return writer.bytes
    }

    /// A population as it was, with users whose trials are not known; `nil` for bytes that are none.
    package init?(
        encoded bytes: [UInt8], users: [UserDigest], prior: (UInt64) throws -> AdapterPrior?
    ) rethrows {
        var reader = ByteReader(bytes)
        guard reader.take(UInt8.self) == Self.format, let policy = reader.takePolicy(),
            let donors = reader.takeDigests(), let hash = reader.takeHash(), let count = reader.takeCount(),
            count <= reader.remaining / 256
        else { return nil }
        self.init(trials: users.map { UserTrial(user: $0) }, policy: policy)
        self.donors = donors
        func start(_ hash: UInt64) throws -> Initialization? {
            try prior(hash).map { Initialization(id: PriorID(of: $0), prior: $0) }
        }
        if let hash {
            guard let found = try start(hash) else { return nil }
            initialization = found
        }
        for _ in 0..<count {
            guard let centroid = reader.takeDirection(), let donors = reader.takeDigests(),
                let hash = reader.takeHash(),
                let hash, let found = try start(hash)
            else { return nil }
            local.append(LocalStart(centroid: centroid, donors: donors, initialization: found))
        }
        guard reader.remaining == 0 else { return nil }
    }

    /// The record without what only making it again asks for.
    package var withoutTrials: PopulationRecord {
        var record = self
        record.trials = trials.map { UserTrial(user: $0.user) }
        return record
    }

    /// All its priors.
    package var priors: [(prior: AdapterPrior, donors: [UserDigest])] {
        (initialization.map { [($0.prior, donors)] } ?? []) + local.map { ($0.initialization.prior, $0.donors) }
    }
}

extension KindPlan {
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        writer.append(UInt8(isPopulationDone ? 1 : 0))
        writer.append(UInt8(isRetiringDone ? 1 : 0))
        writer.append(short: UInt(groupsDone))
        writer.append(short: UInt(fates.count))
        for fate in fates {
            switch fate {
            case .refused(let id):
                writer.append(UInt8(0))
                writer.append(short: id?.value ?? 0)
            case .new(let id):
                writer.append(UInt8(1))
                writer.append(short: id?.value ?? 0)
            case .again(let id):
                writer.append(UInt8(2))
                writer.append(short: id.value)
            }
        }
        writer.append(short: UInt(retired.count))
        for id in retired { writer.append(short: id.value) }
        return writer.bytes
    }

    package init?(encoded bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard let population: UInt8 = reader.take(), let retiring: UInt8 = reader.take(),
            let done = reader.takeCount(), let count = reader.takeCount(), count <= reader.remaining
        else { return nil }
        var fates: [Fate] = []
        for _ in 0..<count {
            guard let kind: UInt8 = reader.take(), kind <= 2, let id = reader.takeShort(), id < SkillID.limit else {
                return nil
            }
            let skill = id == 0 ? nil : SkillID(id)
            switch (kind, skill) {
            case (0, _): fates.append(.refused(skill))
            case (1, let skill?): fates.append(.new(skill))
            case (2, let skill?): fates.append(.again(skill))
            default: return nil
            }
        }
        guard let retiredCount = reader.takeCount(), retiredCount <= reader.remaining else { return nil }
        var retired: [SkillID] = []
        for _ in 0..<retiredCount {
            guard let id = reader.takeShort(), id < SkillID.limit else { return nil }
            retired.append(SkillID(id))
        }
        guard reader.remaining == 0 else { return nil }
        self.init(fates: fates, retired: retired)
        (isPopulationDone, isRetiringDone, groupsDone) = (population == 1, retiring == 1, done)
    }

    /// The identifiers that it has taken.
    package var newSkills: [SkillID] { fates.compactMap { if case .new(let id) = $0 { id } else { nil } } }
}

extension ConsolidationPolicy {
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 48)
        writer.append(self)
        return writer.bytes
    }
}

// MARK: - Parts

extension ByteWriter {
    fileprivate mutating func append(_ values: [Float]) { for value in values { append(value) } }

    fileprivate mutating func append(_ digests: [UserDigest]) {
        append(short: UInt(digests.count))
        for digest in digests {
            append(digest.high)
            append(digest.low)
        }
    }

    /// A prior's hash, behind whether there is one.
    fileprivate mutating func append(_ prior: AdapterPrior?) {
        append(UInt8(prior == nil ? 0 : 1))
        if let prior { append(KeptPrior(prior).hash) }
    }

    fileprivate mutating func append(_ policy: ConsolidationPolicy) {
        append(policy.minimumSuccessRate)
        append(short: UInt(policy.minimumUses))
        append(policy.lookbackDays)
        append(short: UInt(policy.minimumUsers))
        append(UInt8(policy.gate == .wilson ? 1 : 0))
        append(policy.seed)
    }

    fileprivate mutating func append(_ evidence: GroupEvidence) {
        append(short: UInt(evidence.users))
        append(short: UInt(evidence.uses))
        for number in [
            evidence.successRate, evidence.wilsonLow, evidence.gain.mean, evidence.gain.low, evidence.gain.high,
        ] { append(number) }
    }
}

extension ByteReader {
    fileprivate mutating func takeDirection() -> [Float]? {
        takeFloats(AdaptationContext.tasteDimension).flatMap { $0.allSatisfy(\.isFinite) ? $0 : nil }
    }

    /// Digests in ascending order, as they are searched.
    fileprivate mutating func takeDigests() -> [UserDigest]? {
        guard let count = takeCount(), count <= remaining / 16 else { return nil }
        var digests: [UserDigest] = []
        digests.reserveCapacity(count)
        for _ in 0..<count {
            guard let high: UInt64 = take(), let low: UInt64 = take() else { return nil }
            let digest = UserDigest(high: high, low: low)
            if let last = digests.last, last >= digest { return nil }
            digests.append(digest)
        }
        return digests
    }

    fileprivate mutating func takeHash() -> UInt64?? {
        switch take(UInt8.self) {
        case 0: .some(nil)
        case 1: take(UInt64.self).map { .some($0) } ?? nil
        default: nil
        }
    }

    fileprivate mutating func takePolicy() -> ConsolidationPolicy? {
        guard let rate = takeDouble(), let uses = takeCount(), let days = takeDouble(), let users = takeCount(),
            let gate: UInt8 = take(), gate <= 1, let seed: UInt64 = take()
        else { return nil }
        let policy = ConsolidationPolicy(
            minimumSuccessRate: rate, minimumUses: uses, lookbackDays: days, minimumUsers: users,
            gate: gate == 1 ? .wilson : .gain, seed: seed)
        do throws(ReasoningError) { try policy.validate() } catch { return nil }
        return policy
    }

    fileprivate mutating func takeEvidence() -> GroupEvidence? {
        guard let users = takeCount(), let uses = takeCount() else { return nil }
        var numbers: [Double] = []
        for _ in 0..<5 {
            guard let number = takeDouble(), number.isFinite else { return nil }
            numbers.append(number)
        }
        return GroupEvidence(
            users: users, uses: uses, successRate: numbers[0], wilsonLow: numbers[1],
            gain: ConfidenceInterval(mean: numbers[2], low: numbers[3], high: numbers[4]))
    }
}
