import LoRA
import TensorCore
import Testing

@testable import Personalization

/// What becomes of merged priors when something in them is forgotten.
@Suite(.timeLimit(.minutes(10)))
struct StalePriorTests {
    private let script: Script
    private let journal = InMemoryFeedbackJournal()

    init() throws { script = try Script() }

    private func engine(_ change: (inout EngineConfiguration) -> Void = { _ in }) throws -> PersonalizationEngine {
        var configuration = script.configuration()
        change(&configuration)
        return try PersonalizationEngine(configuration: configuration, journal: journal)
    }

    private func learn(_ engine: PersonalizationEngine, _ user: String, _ steps: Range<Int>) async throws {
        for step in steps {
            try await engine.updateAdapter(for: user, with: script.batch(user, step), id: FeedbackID("\(step)"))
        }
    }

    private func taught(_ engine: PersonalizationEngine) async throws {
        for user in ["ada", "bob", "eve"] { try await learn(engine, user, 0..<4) }
    }

    private func expectRefusal(_ engine: PersonalizationEngine, _ prior: AdapterPrior) async throws {
        let error = await #expect(throws: EngineError.self) {
            try await engine.createAdapter(for: "late", startingFrom: prior)
        }
        #expect(error?.code == .stalePrior && error?.message.contains("merge adapters again") == true)
        #expect(try await engine.isStale(prior))
        #expect(try await engine.adapter(for: "late") == nil)
    }

    @Test func forgettingADonorNamesThePriorAndItsReaders() async throws {
        let engine = try engine()
        try await taught(engine)
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1])
        let other = try await engine.mergeAdapters(["bob": 1, "eve": 1])
        for user in ["zoe", "dan", "gone"] { try await engine.createAdapter(for: user, startingFrom: prior) }
        try await engine.createAdapter(for: "max", startingFrom: other)
        try await learn(engine, "zoe", 0..<3)
        try await engine.removeAdapter(for: "gone")
        let reader = try #require(try await engine.adapter(for: "zoe")).snapshot()

        let receipt = try await engine.forget("ada")
        #expect(receipt.stalePriors == [StalePrior(hash: engine.content(prior).hash, users: ["dan", "zoe"])])
        try await expectRefusal(engine, prior)
        #expect(try await !engine.isStale(other))
        try await engine.createAdapter(for: "fit", startingFrom: other)
        // Who has an adapter keeps it, and it is still what the journal makes.
        #expect(try await engine.createAdapter(for: "zoe", startingFrom: prior) == 3)
        let next = try self.engine()
        #expect(try await next.adapter(for: "zoe")?.snapshot() == reader)
        try await expectRefusal(next, prior)
        // Merged again it is fit; the one who is forgotten next was in three.
        let again = try await next.mergeAdapters(["bob": 1])
        try await next.createAdapter(for: "late", startingFrom: again)
        let all = try await next.forget("bob").stalePriors
        #expect(
            Set(all.map(\.users)) == [["dan", "zoe"], ["fit", "max"], ["late"]]
                && all.map(\.hash).sorted() == all.map(\.hash))
        #expect(try await next.forget("nobody").stalePriors.isEmpty)
    }

    @Test(arguments: [1, 3, 4])
    func feedbackMakesThosePriorsStaleThatHadLearnedIt(learnedAt: Int) async throws {
        let engine = try engine()
        try await taught(engine)
        var priors: [AdapterPrior] = []
        for version in 4..<7 {
            if version > 4 { try await learn(engine, "ada", (version - 1)..<version) }
            priors.append(try await engine.mergeAdapters(["ada": 1, "bob": 1]))
        }
        // Versions 4, 5 and 6 were merged.
        try await engine.createAdapter(for: "zoe", startingFrom: priors[0])
        let receipt = try await engine.forgetFeedback(FeedbackID("\(learnedAt)"), of: "ada")
        #expect(receipt.learnedAt == UInt64(learnedAt) + 1)
        let expected = priors.enumerated().filter { $0.offset + 4 >= learnedAt + 1 }.map(\.element)
        #expect(Set(receipt.stalePriors.map(\.hash)) == Set(expected.map { engine.content($0).hash }))
        #expect(receipt.stalePriors.contains { $0.users == ["zoe"] } == (learnedAt < 4))
        for prior in priors { #expect(try await engine.isStale(prior) == expected.contains(prior)) }
        // The same feedback is not in what is merged now.
        let fresh = try await engine.mergeAdapters(["ada": 1, "bob": 1])
        #expect(try await !engine.isStale(fresh))
        // Of the other donor it is the first feedback, which all of them had.
        let other = try await engine.forgetFeedback(FeedbackID("0"), of: "bob")
        #expect(other.stalePriors.count == 4)
        try await expectRefusal(engine, fresh)
    }

    @Test func whoWasRemovedCanBeForgottenLater() async throws {
        let engine = try engine()
        try await taught(engine)
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1])
        #expect(try await engine.removeAdapter(for: "ada"))
        #expect(try await !engine.isStale(prior))
        // A later adapter's feedback is not in it, whatever its version.
        try await learn(engine, "ada", 0..<4)
        #expect(try await engine.forgetFeedback(FeedbackID("0"), of: "ada").stalePriors.isEmpty)
        try await engine.createAdapter(for: "zoe", startingFrom: prior)
        #expect(try await engine.forget("ada").stalePriors.map(\.users) == [["zoe"]])
        try await expectRefusal(engine, prior)
    }

    /// Without durability, and where entries go at each checkpoint, no entry says who started from what.
    @Test(arguments: [Durability.none, .buffered])
    func readersAreKnownWithoutTheirEntries(durability: Durability) async throws {
        let engine = try engine { configuration in
            configuration.durability = durability
            configuration.retention = .untilCheckpoint
        }
        try await taught(engine)
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1])
        try await engine.createAdapter(for: "zoe", startingFrom: prior)
        try await engine.checkpoint()
        #expect(try await journal.entries(of: "zoe", after: nil).isEmpty)
        #expect(try await engine.forget("ada").stalePriors.map(\.users) == [["zoe"]])
        try await expectRefusal(engine, prior)
    }

    @Test func priorsWithoutKnownDonorsAreTakenAsTheyAre() async throws {
        let engine = try engine()
        try await taught(engine)
        // Merged past the engine; and one that is nothing, which nobody can be in.
        let donor = try #require(try await engine.adapter(for: "ada"))
        let foreign = try AdapterPrior(merging: [(donor, 1)], rank: 2)
        let cold = try await engine.createAdapter(for: "cold")
        #expect(cold == 0)
        let nothing = try await engine.mergeAdapters(["cold": 1])
        for user in ["ada", "cold"] { #expect(try await engine.forget(user).stalePriors.isEmpty) }
        for (user, prior) in [("zoe", foreign), ("dan", nothing)] {
            #expect(try await !engine.isStale(prior))
            try await engine.createAdapter(for: user, startingFrom: prior)
        }
        let plain = try script.engine()
        #expect(try await !plain.isStale(foreign))
    }

    /// A prior is merged before a donor is forgotten, and stale, or not at all.
    @Test func mergingAndForgettingNeverOverlap() async throws {
        for _ in 0..<12 {
            let engine = try engine()
            let users = (0..<4).map { "donor \($0)" }
            for user in users {
                try await engine.readmit(user)
                try await learn(engine, user, 0..<2)
            }
            async let forgotten = engine.forget(users[2])
            var merged: AdapterPrior?
            do {
                merged = try await engine.mergeAdapters(Dictionary(uniqueKeysWithValues: users.map { ($0, 1) }))
            } catch let error as EngineError {
                #expect(error.code == .unknownUser && error.user == users[2])
            }
            let stale = try await forgotten.stalePriors
            if let merged {
                #expect(try await engine.isStale(merged) && stale.contains { $0.hash == engine.content(merged).hash })
            }
            for user in users { try await engine.forget(user) }
        }
    }

    /// Merged but not recorded yet: who forgets then waits, or would miss it.
    @Test func forgettingWaitsForWhatIsBeingMerged() async throws {
        let faulty = FaultyJournal()
        let engine = try PersonalizationEngine(configuration: script.configuration(), journal: faulty)
        try await taught(engine)
        faulty.set(.waits)
        let merging = Task { try await engine.mergeAdapters(["ada": 1, "bob": 1]) }
        while !faulty.isWaitedFor { await Task.yield() }
        let isDone = Lock(false)
        let forgetting = Task {
            defer { isDone.withLock { $0 = true } }
            return try await engine.forgetFeedback(FeedbackID("1"), of: "ada")
        }
        for _ in 0..<50 where !isDone.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(2)) }
        faulty.set(.works)
        let prior = try await merging.value
        #expect(try await forgetting.value.stalePriors.map(\.hash) == [engine.content(prior).hash])
        #expect(try await engine.isStale(prior))
    }

    @Test func whatCannotBeRecordedIsNotMerged() async throws {
        let faulty = FaultyJournal()
        let engine = try PersonalizationEngine(configuration: script.configuration(), journal: faulty)
        try await taught(engine)
        faulty.set(.fails)
        let error = await #expect(throws: EngineError.self) { try await engine.mergeAdapters(["ada": 1]) }
        #expect(error?.code == .journalFailed)
        faulty.set(.works)
        _ = try await engine.mergeAdapters(["ada": 1])
    }
}
