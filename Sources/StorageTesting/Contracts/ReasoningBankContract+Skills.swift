internal import LoRA
internal import Reasoning

extension ReasoningBankContract {
    /// What a skill is apart from its identifier and date, which may differ between banks.
    private struct SkillContent: Equatable {
        var kind: AdapterKind
        var centroid: [Float]
        var start: PriorID?
        var prior: AdapterPrior?
        var donors: [UserDigest]
        var learningRate: Float
        var evidence: GroupEvidence

        init(_ skill: Skill) {
            (kind, centroid, start, prior) = (
                skill.kind, skill.centroid, skill.initialization?.id, skill.initialization?.prior
            )
            (donors, learningRate, evidence) = (skill.donors, skill.learningRate, skill.evidence)
        }
    }

    private var groups: [PlantedDonors.Group] {
        [.init(name: "red", taste: 0, users: 12, gain: 0.2), .init(name: "blue", taste: 5, users: 14, gain: 0.1)]
    }

    private var policy: ConsolidationPolicy { ConsolidationPolicy() }

    func checkConsolidation(_ journal: ContractJournal) async throws {
        let invalid = "a policy out of range is refused as invalidPolicy"
        try await journal.check(invalid) {
            let bank = try await makeBank()
            for (name, policy) in [
                ("a success rate of 2", ConsolidationPolicy(minimumSuccessRate: 2)),
                ("a success rate of NaN", ConsolidationPolicy(minimumSuccessRate: .nan)),
                ("no uses", ConsolidationPolicy(minimumUses: 0)), ("one user", ConsolidationPolicy(minimumUsers: 1)),
                ("no days", ConsolidationPolicy(lookbackDays: 0)),
            ] {
                let error = try await journal.failure(invalid, of: name) {
                    try await bank.autoConsolidate(policy, donors: NoDonors())
                }
                guard let error else { continue }
                let code = (error as? ReasoningError)?.code
                journal.expect(invalid, code == .invalidPolicy, "invalidPolicy for \(name)", saw: "\(error)")
            }
        }
        try await checkSkills(journal)
        try await checkDeterminism(journal)
        try await checkRefusals(journal)
        try await checkRetirement(journal)
    }

    private func checkSkills(_ journal: ContractJournal) async throws {
        let promise = "a group that passes the policy becomes a skill"
        try await journal.check(promise) {
            let planted = try PlantedDonors(builder, groups)
            let bank = try await makeBank()
            try await planted.fill(bank)
            let report = try await bank.autoConsolidate(policy, donors: planted)
            journal.expect(promise, report.created.count, is: 2)
            journal.expect("a report counts the window's resolved episodes", report.episodes, is: 52)
            journal.expect("a report counts their users", report.users, is: 26)
            for skill in report.created {
                let evidence = skill.evidence
                journal.expect(
                    "a skill has what the policy asks for",
                    evidence.users >= 5 && evidence.uses >= 5 && evidence.successRate >= 0.85 && evidence.gain.low > 0,
                    "5 users, 5 uses, a success rate of 0.85 and a gain surely above 0", saw: "\(evidence)")
                journal.expect("donors are listed ascending", skill.donors, is: skill.donors.sorted())
                journal.expect(
                    "a skill's start is of its kind", skill.initialization?.prior.dimension ?? -1,
                    is: skill.kind.dimension)
            }
            for (name, taste) in [("a taste like a skill's", Self.taste(0)), ("no taste yet", [])] {
                try await checkStart(name, taste, planted, report.created, bank, journal)
            }
        }
        let again = "a group that is a skill already makes it again, under its identifier"
        try await journal.check(again) {
            let planted = try PlantedDonors(builder, groups)
            let bank = try await makeBank()
            try await planted.fill(bank)
            let first = try await bank.autoConsolidate(policy, donors: planted)
            let second = try await bank.autoConsolidate(policy, donors: planted)
            journal.expect(again, second.created.count, is: 0)
            journal.expect(again, second.updated.map(\.id).sorted(), is: first.created.map(\.id).sorted())
        }
    }

    /// A stranger gets a start; a user who gave to it gets it neither whole nor as it is.
    private func checkStart(
        _ name: String, _ taste: [Float], _ planted: PlantedDonors, _ skills: [Skill], _ bank: any ReasoningBank,
        _ journal: ContractJournal
    ) async throws {
        var task = AdaptationTask(context: builder.context(taste: taste), configuredLearningRate: 0.25)
        task.excluding = planted.digest("a stranger")
        let start = try await bank.learnStrategy(task).initialization
        journal.expect("where there are skills there is a start", start != nil, "a start for \(name)", saw: "none")
        // A bank without a start of everybody gives that of a skill to who has no taste yet: to who did not give to it as well.
        let donors = skills.first { $0.initialization?.id == start?.id }?.donors
        for i in 0..<12 where donors?.contains(planted.digest("red \(i)")) ?? true {
            task.excluding = planted.digest("red \(i)")
            let own = try await bank.learnStrategy(task).initialization
            journal.expect(
                "nobody starts from what they gave to", own == nil || own?.id != start?.id,
                "another start than \(start?.id.description ?? "none"), for \(name)", saw: "the same")
        }
    }

    private func checkDeterminism(_ journal: ContractJournal) async throws {
        let promise = "the same episodes, donors and policy give the same skills"
        try await journal.check(promise) {
            let planted = try PlantedDonors(builder, groups)
            var seen: [[SkillContent]] = []
            for seed: UInt64 in 0..<3 {
                let bank = try await makeBank()
                try await planted.fill(bank, seed: seed)
                let report = try await bank.autoConsolidate(policy, donors: planted)
                seen.append(
                    report.created.map(SkillContent.init).sorted {
                        $0.centroid.lexicographicallyPrecedes($1.centroid)
                    })
            }
            for other in seen.dropFirst() { journal.expect(promise, other, is: seen[0]) }
        }
    }

    private func checkRefusals(_ journal: ContractJournal) async throws {
        let promise = "what the policy does not accept becomes no skill"
        func expectNone(_ what: String, _ planted: PlantedDonors, _ policy: ConsolidationPolicy) async throws {
            let bank = try await makeBank()
            try await planted.fill(bank)
            let report = try await bank.autoConsolidate(policy, donors: planted)
            journal.expect(promise, report.created.isEmpty, "no skill of \(what)", saw: "\(report.created.count)")
            let task = AdaptationTask(context: builder.context(taste: Self.taste(0)), configuredLearningRate: 0.25)
            let start = try await bank.learnStrategy(task).initialization
            journal.expect(promise, start?.skill == nil, "no start from a skill of \(what)", saw: "one")
            for group in report.refused {
                journal.expect("a refusal says why", !group.reason.isEmpty, "a reason", saw: "none")
            }
        }
        try await journal.check(promise) {
            let losing = PlantedDonors.Group(name: "red", taste: 0, users: 12, gain: -0.2)
            try await expectNone("users who lose", PlantedDonors(builder, [losing]), policy)
            let few = PlantedDonors.Group(name: "red", taste: 0, users: 4, gain: 0.2)
            try await expectNone("four users", PlantedDonors(builder, [few]), policy)
            let enough = PlantedDonors.Group(name: "red", taste: 0, users: 8, gain: 0.2)
            try await expectNone(
                "16 uses where 17 are asked for", PlantedDonors(builder, [enough]), ConsolidationPolicy(minimumUses: 17)
            )
            try await expectNone(
                "8 of 8 under Wilson's gate", PlantedDonors(builder, [enough]), ConsolidationPolicy(gate: .wilson))
            var old = builder
            old.start = Timestamp(microseconds: old.start.microseconds - 31 * 86_400_000_000)
            try await expectNone("episodes before the window", PlantedDonors(old, [enough]), policy)
        }
    }

    private func checkRetirement(_ journal: ContractJournal) async throws {
        let promise = "a skill whose users now lose is retired"
        try await journal.check(promise) {
            let planted = try PlantedDonors(builder, groups)
            let bank = try await makeBank()
            try await planted.fill(bank)
            let first = try await bank.autoConsolidate(policy, donors: planted)
            let losing = groups.map { PlantedDonors.Group(name: $0.name, taste: $0.taste, users: $0.users, gain: -1) }
            try await PlantedDonors(builder, losing, versions: 3...6).fill(bank)
            let second = try await bank.autoConsolidate(policy, donors: planted)
            journal.expect(promise, second.retired.map(\.id).sorted(), is: first.created.map(\.id).sorted())
            let task = AdaptationTask(context: builder.context(taste: Self.taste(0)), configuredLearningRate: 0.25)
            let start = try await bank.learnStrategy(task).initialization
            journal.expect(promise, start == nil, "no start any more", saw: "one")
        }
    }

    // MARK: - Forgetting

    func checkForgetting(_ journal: ContractJournal) async throws {
        let promise = "nothing of a forgotten user is left"
        try await journal.check(promise) {
            let planted = try PlantedDonors(builder, groups)
            let user = planted.digest("red 3")
            let (bank, control) = (try await makeBank(), try await makeBank())
            try await planted.fill(bank)
            try await planted.fill(control, without: user)
            let before = try await bank.autoConsolidate(policy, donors: planted)
            _ = try await control.autoConsolidate(policy, donors: planted)
            let report = try await bank.forget(user, donors: planted)
            journal.expect("a report counts the episodes removed", report.episodes, is: 2)
            let affected = before.created.filter { $0.donors.contains(user) }
            for skill in affected {
                journal.expect(
                    "every skill that the user gave to is made again or given up",
                    report.rederived.contains(skill.id) || report.retired.contains(skill.id), "\(skill.id) among them",
                    saw: "\(report)")
                if let start = skill.initialization?.id {
                    journal.expect(
                        "starts that the user gave to are named as stale", report.stalePriors.contains(start),
                        "\(start)",
                        saw: "\(report.stalePriors)")
                }
            }
            for (start, successor) in report.successors {
                journal.expect(
                    "successors are those of stale starts, without the user",
                    report.stalePriors.contains(start) && !successor.donors.contains(user), "not the user",
                    saw: "\(start): \(successor.donors)")
            }
            try await compare(bank, control, without: user, stale: Set(report.stalePriors), promise, journal)
            let again = try await bank.forget(user, donors: planted)
            journal.expect("who is forgotten is not found again", again, is: ForgettingReport())
            for episode in planted.episodes where episode.user == user { _ = try await bank.storePattern(episode) }
            let returned = try await bank.retrievePatterns(
                PatternQuery(context: builder.context(taste: Self.taste(0)), limit: 1000, minimumReward: 0))
            journal.expect(
                "a forgotten user may come back", returned.count { $0.user == user }, is: 2)
        }
        let few = "a skill of too few users is given up"
        try await journal.check(few) {
            let group = PlantedDonors.Group(name: "red", taste: 0, users: 5, gain: 0.2)
            let planted = try PlantedDonors(builder, [group])
            let bank = try await makeBank()
            try await planted.fill(bank)
            let before = try await bank.autoConsolidate(policy, donors: planted)
            journal.expect(few, before.created.count, is: 1)
            let report = try await bank.forget(planted.digest("red 0"), donors: planted)
            journal.expect(few, report.retired, is: before.created.map(\.id))
            let task = AdaptationTask(context: builder.context(taste: Self.taste(0)), configuredLearningRate: 0.25)
            journal.expect(few, try await bank.learnStrategy(task).initialization == nil, "no start", saw: "one")
        }
    }

    /// Whether a bank answers as one that never saw the user.
    private func compare(
        _ bank: any ReasoningBank, _ control: any ReasoningBank, without user: UserDigest, stale: Set<PriorID>,
        _ promise: String, _ journal: ContractJournal
    ) async throws {
        for index in [0, 5, 9] {
            let context = builder.context(taste: Self.taste(index))
            let query = PatternQuery(context: context, limit: 1000, minimumReward: 0)
            let found = try await bank.retrievePatterns(query)
            journal.expect(promise, found.count { $0.user == user }, is: 0)
            let expected = try await control.retrievePatterns(query)
            journal.expect(promise, found.count, is: expected.count)
            let task = AdaptationTask(context: context, configuredLearningRate: 0.25)
            let (advice, reference) = (try await bank.learnStrategy(task), try await control.learnStrategy(task))
            journal.expect(promise, AdviceContent(advice), is: AdviceContent(reference))
            guard let start = advice.initialization, let other = reference.initialization else {
                journal.expect(
                    promise, advice.initialization == nil, "no start, as where the user never was", saw: "one")
                continue
            }
            journal.expect(promise, !stale.contains(start.id), "no stale start", saw: "\(start.id)")
            // The arithmetic may differ; what is left of a thirteenth of a group would not be so small.
            let scale = other.prior.singularValues.first ?? 0
            let distance = zip(start.prior.singularValues, other.prior.singularValues).reduce(Float(0)) {
                max($0, abs($1.0 - $1.1))
            }
            journal.expect(
                promise, distance <= 1e-4 * scale, "the start of a bank that never saw the user",
                saw: "singular values off by \(distance) of \(scale)")
        }
    }
}
