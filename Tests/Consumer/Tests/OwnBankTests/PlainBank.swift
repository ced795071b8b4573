import Attune

/// A bank that somebody else wrote, by the protocol alone: a list of episodes that is looked through from its beginning at each
/// question. Nothing of it but ``ReasoningBank`` and public values is Attune's.
actor PlainBank: ReasoningBank {
    private struct Row {
        let id: EpisodeID
        let episode: Episode
    }
    /// What a skill was made under, to make it again without one of its users.
    private struct Kept {
        var skill: Skill
        var members: [UserDigest]
        var policy: ConsolidationPolicy
    }
    private var rows: [Row] = []
    private var kept: [Kept] = []
    /// The donors of every start that was ever given out.
    private var issued: [PriorID: [UserDigest]] = [:]
    private var lastEpisode: UInt64 = 0
    private var lastSkill: UInt64 = 0

    // MARK: Episodes

    func storePattern(_ episode: Episode) throws -> EpisodeID {
        try episode.validate()
        let known = rows.first { row in
            (row.episode.user, row.episode.version, row.episode.recordedAt)
                == (episode.user, episode.version, episode.recordedAt)
        }
        if let known { return known.id }
        lastEpisode += 1
        rows.append(Row(id: EpisodeID(lastEpisode), episode: episode))
        return EpisodeID(lastEpisode)
    }

    func retrievePatterns(_ query: PatternQuery) throws -> [RetrievedPattern] {
        try query.validate()
        try AdaptationTask(context: query.context, configuredLearningRate: 1).checkedForQuery()
        let now = SystemClock().now
        var pool = rows.compactMap { row -> RetrievedPattern? in
            let episode = row.episode
            guard let outcome = episode.outcome, AdapterKind(episode.context) == AdapterKind(query.context),
                outcome.reward >= query.minimumReward, outcome.success || !query.onlySuccesses,
                !outcome.success || !query.onlyFailures, episode.user != query.excluding
            else { return nil }
            return RetrievedPattern(
                id: row.id, user: episode.user, input: episode.input, output: episode.output, reward: outcome.reward,
                success: outcome.success, similarity: likeness(episode.context, query.context),
                age: max(0, now.seconds(since: episode.recordedAt)), loss: episode.lossAfter, action: episode.action,
                rank: episode.context.rank)
        }
        pool.sort { ($1.similarity, $0.id) < ($0.similarity, $1.id) }
        if query.relevance == 1 { return Array(pool.prefix(query.limit)) }
        let contexts = Dictionary(uniqueKeysWithValues: rows.map { ($0.id, $0.episode.context) })
        var chosen: [RetrievedPattern] = []
        while chosen.count < query.limit, !pool.isEmpty {
            let values = pool.map { pattern -> Double in
                let nearest = chosen.compactMap { other in
                    contexts[pattern.id].flatMap { one in contexts[other.id].map { likeness(one, $0) } }
                }.max()
                return query.relevance * pattern.similarity - (1 - query.relevance) * (nearest ?? 0)
            }
            let best = values.indices.max { (values[$0], $1) < (values[$1], $0) } ?? 0
            chosen.append(pool.remove(at: best))
        }
        return chosen
    }

    /// The cosine of two tastes; 0 where one has none.
    private func likeness(_ left: AdaptationContext, _ right: AdaptationContext) -> Double {
        func dot(_ a: [Float], _ b: [Float]) -> Double { zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
        let lengths = (dot(left.taste, left.taste) * dot(right.taste, right.taste)).squareRoot()
        return lengths > 0 ? min(1, max(-1, dot(left.taste, right.taste) / lengths)) : 0
    }

    // MARK: Advice

    func learnStrategy(_ task: AdaptationTask) throws -> StrategyAdvice {
        try task.validate()
        let kind = AdapterKind(task.context)
        let known = rows.filter {
            $0.episode.outcome != nil && AdapterKind($0.episode.context) == kind && $0.episode.user != task.excluding
        }
        var advice = StrategyAdvice(initialization: start(for: task))
        let evidence = evidence(known.map(\.episode))
        guard evidence.users > 0 else { return advice }
        advice.gain = evidence.gain
        advice.episodes = evidence.uses
        advice.evidence = known.suffix(3).map(\.id)
        advice.confidence = Double(evidence.users) / Double(evidence.users + 30)
        advice.hints.learningRate = .value(Double(bestRate(known.map(\.episode))))
        return advice
    }

    /// The start of the skill nearest in taste, or of the largest for who has none; never one that the user gave to.
    private func start(for task: AdaptationTask) -> Initialization? {
        let kind = AdapterKind(task.context)
        let open = kept.filter { record in
            record.skill.kind == kind && !(task.excluding.map { record.members.contains($0) } ?? false)
        }
        func value(_ record: Kept) -> Double {
            var context = task.context
            context.taste = record.skill.centroid
            return likeness(context, task.context)
        }
        return open.max { (value($0), $0.members.count, $1.skill.id) < (value($1), $1.members.count, $0.skill.id) }?
            .skill.initialization
    }

    /// What users' episodes show together, one trial a user.
    private func evidence(_ episodes: [Episode]) -> GroupEvidence {
        let gains = meanGains(episodes).map(\.gain)
        let n = Double(gains.count)
        guard n > 0 else {
            return GroupEvidence(
                users: 0, uses: 0, successRate: 0, wilsonLow: 0, gain: ConfidenceInterval(mean: 0, low: 0, high: 0))
        }
        let mean = gains.reduce(0, +) / n
        let variance = gains.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / max(1, n - 1)
        // Wide enough for Student's distribution at five users.
        let half = 2.8 * (variance / n).squareRoot()
        let share = Double(gains.count { $0 > 0 }) / n
        let z = 1.96
        let wilson =
            (share + z * z / (2 * n) - z * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot())
            / (1 + z * z / n)
        return GroupEvidence(
            users: gains.count, uses: episodes.count, successRate: share, wilsonLow: max(0, wilson),
            gain: ConfidenceInterval(mean: mean, low: mean - half, high: mean + half))
    }

    /// Ascending by user, so that sums don't depend on the order of storage.
    private func meanGains(_ episodes: [Episode]) -> [(user: UserDigest, gain: Double)] {
        Dictionary(grouping: episodes, by: \.user).sorted { $0.key < $1.key }.map { user, own in
            let gains = own.sorted { $0.version < $1.version }.compactMap(\.outcome?.benefit)
            return (user, gains.reduce(0, +) / Double(gains.count))
        }
    }

    private func bestRate(_ episodes: [Episode]) -> Float {
        let byRate = Dictionary(grouping: episodes, by: \.action.learningRate).sorted { $0.key < $1.key }
        func mean(_ episodes: [Episode]) -> Double {
            let gains = meanGains(episodes).map(\.gain)
            return gains.reduce(0, +) / Double(gains.count)
        }
        return byRate.max { mean($0.value) < mean($1.value) }?.key ?? 0
    }

    // MARK: Skills

    func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport {
        try policy.validate()
        let now = SystemClock().now
        let window = rows.map(\.episode).filter {
            $0.outcome != nil && now.seconds(since: $0.recordedAt) <= policy.lookbackDays * 86_400
        }
        var report = ConsolidationReport()
        report.episodes = window.count
        report.users = Set(window.map(\.user)).count
        var next: [Kept] = []
        for members in groups(window) {
            let evidence = evidence(members)
            if let reason = refusal(evidence, policy) {
                report.refused.append(RefusedGroup(centroid: centroid(members), evidence: evidence, reason: reason))
                continue
            }
            let known = kept.first {
                $0.skill.kind == kind(members) && strongest($0.skill.centroid) == strongest(members)
            }
            if known == nil { lastSkill += 1 }
            let id = known?.skill.id ?? SkillID(lastSkill)
            guard let made = try await make(id, members, policy, donors, now) else { continue }
            next.append(made)
            if known == nil { report.created.append(made.skill) } else { report.updated.append(made.skill) }
        }
        let left = Set(next.map(\.skill.id))
        report.retired = kept.map(\.skill).filter { !left.contains($0.id) }
        kept = next
        return report
    }

    /// Episodes of users whose taste points the same way, in an order that is always the same.
    private func groups(_ episodes: [Episode]) -> [[Episode]] {
        let tasted = episodes.filter { $0.context.taste.contains { $0 != 0 } }
        let groups = Dictionary(grouping: tasted) { [kind([$0]).description, "\(strongest($0.context.taste))"] }
        return groups.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { _, group in
            group.sorted { ($0.user, $0.version) < ($1.user, $1.version) }
        }
    }

    private func kind(_ episodes: [Episode]) -> AdapterKind { AdapterKind(episodes[0].context) }

    private func strongest(_ taste: [Float]) -> Int {
        taste.indices.max { (taste[$0], $1) < (taste[$1], $0) } ?? 0
    }
    private func strongest(_ episodes: [Episode]) -> Int { strongest(episodes[0].context.taste) }

    private func centroid(_ episodes: [Episode]) -> [Float] {
        var sum = [Double](repeating: 0, count: AdaptationContext.tasteDimension)
        for episode in episodes { for i in sum.indices { sum[i] += Double(episode.context.taste[i]) } }
        let length = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return sum.map { Float($0 / length) }
    }

    private func refusal(_ evidence: GroupEvidence, _ policy: ConsolidationPolicy) -> String? {
        if evidence.users < policy.minimumUsers { return "\(evidence.users) users are too few" }
        if evidence.uses < policy.minimumUses { return "\(evidence.uses) episodes are too few" }
        if evidence.successRate < policy.minimumSuccessRate { return "too few users gained" }
        if policy.gate == .wilson, evidence.wilsonLow < policy.minimumSuccessRate { return "too few users to be sure" }
        return evidence.gain.low > 0 ? nil : "the gain is not surely above 0"
    }

    private func make(
        _ id: SkillID, _ members: [Episode], _ policy: ConsolidationPolicy, _ donors: any DonorSource, _ now: Timestamp
    ) async throws -> Kept? {
        var found: [(user: UserDigest, adapter: LoRAAdapter)] = []
        for user in Set(members.map(\.user)).sorted() {
            if let adapter = try await donors.adapter(of: user) { found.append((user, adapter)) }
        }
        guard found.count >= policy.minimumUsers else { return nil }
        let prior = try AdapterPrior(merging: found.map { ($0.adapter, 1) }, rank: kind(members).rank)
        let start = Initialization(prior: prior, skill: id)
        issued[start.id] = found.map(\.user)
        let skill = Skill(
            id: id, kind: kind(members), centroid: centroid(members), initialization: start,
            donors: found.map(\.user), learningRate: bestRate(members), evidence: evidence(members), updatedAt: now)
        return Kept(skill: skill, members: Set(members.map(\.user)).sorted(), policy: policy)
    }

    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        var report = ForgettingReport()
        report.episodes = rows.count { $0.episode.user == user }
        rows.removeAll { $0.episode.user == user }
        let affected = kept.filter { $0.members.contains(user) }
        // Withdrawn first: nothing of the user is given out while donors are asked, or where that fails.
        kept.removeAll { $0.members.contains(user) }
        report.stalePriors = issued.filter { $0.value.contains(user) }.map(\.key).sorted { $0.value < $1.value }
        for id in report.stalePriors { issued[id] = nil }
        for record in affected {
            let members = rows.map(\.episode).filter { record.members.contains($0.user) && $0.outcome != nil }
                .sorted { ($0.user, $0.version) < ($1.user, $1.version) }
            if !members.isEmpty, refusal(evidence(members), record.policy) == nil,
                let made = try await make(record.skill.id, members, record.policy, donors, SystemClock().now)
            {
                kept.append(made)
                report.rederived.append(record.skill.id)
            } else {
                report.retired.append(record.skill.id)
            }
        }
        return report
    }
}

extension AdaptationTask {
    /// A context that no query may have is refused as the query it came with.
    fileprivate func checkedForQuery() throws { try validate() }
}

extension AdapterKind {
    fileprivate var description: String { "\(objective.rawValue) \(dimension) \(rank) \(model)" }
}
