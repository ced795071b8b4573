import Attune
import Support

/// Consolidation turns episodes into skills: groups of users alike in taste, with a start for the next one like them. It is a
/// batch job; run it once a day, say. A group becomes a skill only if it shows enough, and the report says what was missing.
@main
struct ConsolidationWorkflow {
    static func main() async throws {
        let shop = try Shop(groups: 3)
        let engine = try PersonalizationEngine(configuration: shop.configuration)
        engine.connectReasoningBank(InMemoryReasoningBank())

        // A few users are not enough.
        for user in 0..<4 { try await shop.live(user, as: "user \(user)", in: engine) }
        try await consolidate("After 4 users", engine)

        // At the defaults a group needs five users, five episodes, success with 85 % of its users, and a mean gain whose 95 %
        // interval lies above 0.
        for user in 4..<60 { try await shop.live(user, as: "user \(user)", in: engine) }
        try await consolidate("After 60 users", engine)

        // More of the same confirms the skills that are there; they keep their names.
        for user in 60..<80 { try await shop.live(user, as: "user \(user)", in: engine) }
        try await consolidate("After 80 users", engine)

        // The policy is yours. This one asks for success with everybody; skills that fall short of it stay as they were, since
        // nothing shows that they do harm.
        try await consolidate("With a stricter policy", engine, ConsolidationPolicy(minimumSuccessRate: 1))

        // Whoever leaves is taken out of everything: episodes, skills, starts.
        let forgotten = try await engine.forget("user 0")
        if let bank = forgotten.bank {
            print("Forgot a user: \(bank.episodes) episodes,", terminator: " ")
            print(
                "skills made again without them: \(bank.rederived.map(\.description).joined(separator: ", "));",
                terminator: " ")
            print("the start for everybody made again: \(bank.populationRederived)")
        }

        // Users without a taste give no skill, however many they are.
        let noise = try Shop(groups: 3, strength: 0)
        let other = try PersonalizationEngine(configuration: noise.configuration)
        other.connectReasoningBank(InMemoryReasoningBank())
        for user in 0..<60 { try await noise.live(user, as: "user \(user)", in: other) }
        try await consolidate("60 users without a taste", other)
    }

    static func consolidate(
        _ title: String, _ engine: PersonalizationEngine, _ policy: ConsolidationPolicy = ConsolidationPolicy()
    ) async throws {
        // nil only where no bank is connected; a bank's errors are thrown.
        guard let report = try await engine.consolidateAdaptationPatterns(policy) else { return }
        print("\(title): \(report.episodes) episodes of \(report.users) users")
        for (what, skills) in [
            ("created", report.created), ("confirmed", report.updated), ("retired", report.retired),
        ] {
            for skill in skills { print("  \(what) skill \(skill.id): \(shown(skill.evidence))") }
        }
        for group in report.refused {
            // What stands behind the colon are the group's numbers, which are in `group.evidence` too.
            print("  refused, \(group.evidence.users) users: \(group.reason.prefix { $0 != ":" })")
        }
        if report.created.isEmpty, report.updated.isEmpty, report.refused.isEmpty { print("  no group to judge") }
    }

    static func shown(_ evidence: GroupEvidence) -> String {
        let gain = evidence.gain
        return "\(evidence.users) users, \(fixed(evidence.successRate * 100, 0)) % of them better off,"
            + " gain \(fixed(gain.mean, 2)) [\(fixed(gain.low, 2)), \(fixed(gain.high, 2))]"
    }
}
