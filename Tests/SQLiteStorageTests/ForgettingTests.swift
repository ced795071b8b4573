import Foundation
import LoRA
import Personalization
import SQLiteStorage
import Testing

@Suite("Forgetting")
struct ForgettingTests {
    let folder: TemporaryFolder
    let script: ShopScript

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    /// The state of an adapter without its version.
    private func state(_ adapter: LoRAAdapter?, version: UInt64) throws -> [UInt8] {
        var bytes = try #require(adapter).snapshot()
        // The checksum goes with the version; what is between stays.
        bytes.removeLast(8)
        bytes.replaceSubrange(48..<56, with: repeatElement(0, count: 8))
        #expect(adapter?.version == version)
        return bytes
    }

    @Test("an adapter that forgot is the one that never saw it, to the bit", arguments: ReplayTests.updates, [0, 4, 9])
    func forgetsExactly(update: UpdateConfiguration, forgotten: Int) async throws {
        let storage = try await folder.storage()
        let configuration = ShopScript.configuration(update)
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        let reference = try PersonalizationEngine(configuration: ShopScript.configuration(update))
        for step in 0..<10 {
            _ = try await engine.updateAdapter(
                for: "ada", with: script.batch("ada", step), id: FeedbackID("event \(step)"))
            if step != forgotten { _ = try await reference.updateAdapter(for: "ada", with: script.batch("ada", step)) }
            if step == 5 { try await engine.checkpoint() }
        }
        let receipt = try await engine.forgetFeedback(FeedbackID("event \(forgotten)"), of: "ada")
        #expect(receipt.learnedAt == UInt64(forgotten) + 1 && receipt.version == 11)
        let expected = try state(try await reference.adapter(for: "ada"), version: 9)
        #expect(try state(try await engine.adapter(for: "ada"), version: 11) == expected)
        // Also from the file, and it does not come back.
        let other = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        #expect(try state(try await other.adapter(for: "ada"), version: 11) == expected)
        let again = try await other.updateAdapter(
            for: "ada", with: script.batch("ada", forgotten), id: FeedbackID("event \(forgotten)"))
        #expect(again.samples == 0 && again.version == 11)
        for engine in [other, reference] {
            _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 10))
        }
        let next = try state(try await reference.adapter(for: "ada"), version: 10)
        #expect(try state(try await other.adapter(for: "ada"), version: 12) == next)
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        await storage.close()
    }

    @Test("one sample of a batch is forgotten, and the rest stays")
    func forgetsSamples() async throws {
        let storage = try await folder.storage()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        let reference = try PersonalizationEngine(configuration: ShopScript.configuration())
        for step in 0..<8 {
            var batch = script.batch("ada", step)
            _ = try await engine.updateAdapter(for: "ada", with: batch, id: FeedbackID("event \(step)"))
            if step == 4 { batch.remove(at: 1) }
            _ = try await reference.updateAdapter(for: "ada", with: batch)
        }
        await #expect(throws: EngineError.self) {
            try await engine.forgetFeedback(FeedbackID("event 4"), of: "ada", sample: 3)
        }
        try await engine.forgetFeedback(FeedbackID("event 4"), of: "ada", sample: 1)
        let expected = try state(try await reference.adapter(for: "ada"), version: 8)
        #expect(try state(try await engine.adapter(for: "ada"), version: 9) == expected)
        await storage.close()
    }

    @Test("what was forgotten is nowhere in the file or its log", arguments: [false, true])
    func erases(wholeUser: Bool) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        let secret: [Float] = (0..<ShopScript.dimension).map { 0.123_456_7 + Float($0) / 977 }
        let user = "someone-who-wants-to-be-forgotten"
        for step in 0..<30 {
            _ = try await engine.updateAdapter(for: "other", with: script.batch("other", step))
            _ = try await engine.updateAdapter(for: user, with: script.batch(user, step), id: FeedbackID("\(step)"))
        }
        _ = try await engine.updateAdapter(
            for: user, with: [Feedback(embedding: secret, signal: .target(secret))], id: FeedbackID("secret"))
        // The user gave to a prior, and to one that they have started from themselves.
        let prior = try await engine.mergeAdapters(["other": 1])
        let own = try await engine.mergeAdapters([user: 1, "other": 1])
        try await engine.createAdapter(for: "reader", startingFrom: own)
        try await engine.checkpoint()
        let needle = unsafe secret.withUnsafeBytes { unsafe Data($0) }
        func files() throws -> Data {
            try ["", "-wal"].reduce(into: Data()) { all, suffix in
                if FileManager.default.fileExists(atPath: path + suffix) {
                    all.append(try contents(ofFile: path + suffix))
                }
            }
        }
        #expect(try files().range(of: needle) != nil)
        let snapshot = try #require(try await engine.adapter(for: user)).snapshot()
        let parameters = Data(snapshot[200..<264])
        #expect(try files().range(of: parameters) != nil)
        if wholeUser {
            let receipt = try await engine.forget(user)
            #expect(receipt.hadAdapter && receipt.entries == 31)
            #expect(receipt.stalePriors.map(\.users) == [["reader"]])
            #expect(try files().range(of: Data(user.utf8)) == nil)
        } else {
            let receipt = try await engine.forgetFeedback(FeedbackID("secret"), of: user)
            #expect(receipt.stalePriors.map(\.users) == [["reader"]])
            #expect(try files().range(of: Data(user.utf8)) != nil)
        }
        #expect(try await engine.isStale(own))
        #expect(try await !engine.isStale(prior))
        #expect(try files().range(of: needle) == nil)
        #expect(try files().range(of: parameters) == nil)
        await storage.close()
        #expect(try files().range(of: needle) == nil)
    }

    @Test("no id of a donor or a starter stays behind, and the prior stays stale", arguments: [false, true])
    func erasesDonors(isRemovedBefore: Bool) async throws {
        let path = folder.newPath()
        var storage = try await SQLiteStorage(path: path)
        func engine() throws -> PersonalizationEngine {
            try PersonalizationEngine(configuration: ShopScript.configuration(), store: storage, journal: storage)
        }
        var current = try engine()
        let (donor, starter) = ("a-donor-who-wants-to-be-forgotten", "a-starter-who-wants-to-be-forgotten")
        for user in [donor, "other"] {
            for step in 0..<4 { _ = try await current.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        let prior = try await current.mergeAdapters([donor: 1, "other": 1])
        let second = try await current.mergeAdapters(["other": 1])
        try await current.createAdapter(for: starter, startingFrom: prior)
        try await current.createAdapter(for: "stays", startingFrom: prior)
        func isThere(_ id: String) throws -> Bool {
            try ["", "-wal"].contains { suffix in
                guard FileManager.default.fileExists(atPath: path + suffix) else { return false }
                return try contents(ofFile: path + suffix).range(of: Data(id.utf8)) != nil
            }
        }
        #expect(try isThere(donor) && isThere(starter))
        #expect(try await current.forget(starter).stalePriors.isEmpty)
        #expect(try !isThere(starter))
        // Late: it is refused, and leaves nothing.
        await #expect(throws: EngineError.self) { try await current.createAdapter(for: starter, startingFrom: prior) }
        if isRemovedBefore {
            #expect(try await current.removeAdapter(for: donor))
            #expect(try await !current.isStale(prior))
            // Removed, not forgotten: now the id is only under its keyed hash, by which it is known later.
            try await storage.erase()
            #expect(try !isThere(donor))
        }
        #expect(try await current.forget(donor).stalePriors.map(\.users) == [["stays"]])
        for _ in 0..<2 {
            #expect(try !isThere(donor) && !isThere(starter))
            #expect(try await current.isStale(prior))
            #expect(try await !current.isStale(second))
            let error = await #expect(throws: EngineError.self) {
                try await current.createAdapter(for: "late", startingFrom: prior)
            }
            #expect(error?.code == .stalePrior)
            #expect(try await storage.usersOverview().map(\.user) == ["other", "stays"])
            await storage.close()
            storage = try await SQLiteStorage(path: path)
            current = try engine()
        }
        // Who started from it is replayed from it.
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        #expect(try await current.adapter(for: "stays")?.startedFrom != nil)
        await storage.close()
    }

    @Test("a forgotten user is refused until readmitted, then begins anew")
    func staysForgotten() async throws {
        let path = folder.newPath()
        for run in 0..<2 {
            let storage = try await SQLiteStorage(path: path)
            let engine = try PersonalizationEngine(
                configuration: ShopScript.configuration(), store: storage, journal: storage)
            if run == 0 {
                for step in 0..<3 { _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
                try await engine.forget("ada")
            }
            let late = await #expect(throws: EngineError.self) {
                try await engine.updateAdapter(for: "ada", with: script.batch("ada", 3))
            }
            #expect(late?.code == .forgottenUser)
            let made = await #expect(throws: EngineError.self) { try await engine.createAdapter(for: "ada") }
            #expect(made?.code == .forgottenUser)
            #expect(try await engine.personalize(script.batch("x", 0)[0].embedding, for: "ada").isPersonalized == false)
            #expect(try await engine.users() == [])
            if run == 1 {
                #expect(try await engine.readmit("ada"))
                #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 3)).version == 1)
            }
            await storage.close()
        }
    }

    @Test("what the journal no longer reaches cannot be forgotten by itself, and says so")
    func saysWhatIsNotRetained() async throws {
        let storage = try await folder.storage()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(retention: .untilCheckpoint), store: storage, journal: storage)
        for step in 0..<3 {
            _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", step), id: FeedbackID("\(step)"))
        }
        let before = try await engine.adapter(for: "ada")
        try await engine.checkpoint()
        #expect(try await storage.entries(of: "ada", after: nil) == [])
        let error = await #expect(throws: EngineError.self) {
            try await engine.forgetFeedback(FeedbackID("1"), of: "ada")
        }
        #expect(error?.code == .notRetained)
        #expect(try await engine.adapter(for: "ada")?.snapshot() == before?.snapshot())
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        await storage.close()
    }
}
