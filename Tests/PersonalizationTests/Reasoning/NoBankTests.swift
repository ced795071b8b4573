import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Without a bank, and with one that has nothing to say, an engine's bytes are those of an engine that knows of no banks.
@Suite(.timeLimit(.minutes(10)))
struct NoBankTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var update: UpdateConfiguration
    }

    static let settings: [Setting] = {
        let optimizers: [(String, Optimizer)] = [
            ("SGD", .sgd), ("momentum", .momentum()), ("Riemannian SGD", .riemannian()), ("AdaGrad", .adaGrad()),
            ("Adam", .adam()), ("AdamW", .adamW()), ("DoG", .doG()),
        ]
        func update(_ optimizer: Optimizer, isProtected: Bool) -> UpdateConfiguration {
            var update = UpdateConfiguration(
                dimension: 20, optimizer: optimizer, schedule: Schedule(.exponential(factor: 0.99)))
            update.elasticWeightConsolidation = isProtected ? ElasticWeightConsolidation(strength: 0.5) : nil
            return update
        }
        var settings = optimizers.flatMap { name, optimizer in
            [
                Setting(testDescription: name, update: update(optimizer, isProtected: false)),
                Setting(testDescription: "\(name) protected", update: update(optimizer, isProtected: true)),
            ]
        }
        var certified = update(.sgd, isProtected: false)
        certified.certifiesSteps = true
        settings.append(Setting(testDescription: "certified steps", update: certified))
        var perMatrix = update(.sgd, isProtected: false)
        perMatrix.clipping = .perMatrix
        settings.append(Setting(testDescription: "per-matrix clipping", update: perMatrix))
        return settings
    }()

    static let users = ["ada", "bob", "eve"]

    /// Single feedbacks and batches in turn, since their steps are kept in different ways.
    private func batch(_ script: Script, _ user: String, _ step: Int) -> [Feedback] {
        step % 2 == 0
            ? script.batch(user, step) : [script.one(ObjectiveKind.allCases[step / 2 % 4], user, step)]
    }

    private func expectEqual(
        _ engines: [PersonalizationEngine], steps: Int = 12, _ script: Script,
        between: (_ step: Int, _ engine: Int) -> Void = { _, _ in }
    ) async throws {
        for step in 0..<steps {
            for user in Self.users {
                var reports: [UpdateReport] = []
                for (i, engine) in engines.enumerated() {
                    between(step, i)
                    if step == 5 { try await engine.consolidateAdapter(for: user) }
                    reports.append(try await engine.updateAdapter(for: user, with: batch(script, user, step)))
                }
                #expect(reports.allSatisfy { $0 == reports[0] }, "\(user) at step \(step)")
                var hashes: [UInt64?] = []
                for engine in engines { hashes.append(try await engine.adapter(for: user)?.stateHash) }
                #expect(hashes[0] != nil && hashes.allSatisfy { $0 == hashes[0] }, "\(user) at step \(step)")
            }
        }
    }

    @Test(arguments: settings)
    func aBankThatAdvisesNothingChangesNoByte(setting: Setting) async throws {
        let script = try Script()
        let restarts = ReasoningConfiguration.patient(restartsAfter: [2, 4, 8])
        let quiet = ScriptedReasoningBank.advising(.none)
        let silent = ScriptedReasoningBank.advising(
            StrategyAdvice(hints: AdaptationHints(learningRate: .value(1)), confidence: 0))
        let engines = [
            try script.engine(nil, update: setting.update),
            try script.engine(quiet, reasoning: restarts, update: setting.update),
            try script.engine(silent, reasoning: restarts, update: setting.update, isCached: false),
        ]
        try await expectEqual(engines, script)
        #expect(quiet.count(of: .learn) > 0 && silent.count(of: .learn) == 12 * Self.users.count)
        let counts = engines.map { $0.statistics() }
        #expect(counts.allSatisfy { $0.updates == counts[0].updates && $0.created == counts[0].created })
        #expect(engines.allSatisfy { $0.reasoningBankStatistics().hinted == 0 })
        for engine in engines { #expect(try await engine.shutdown(deadline: .seconds(60))) }
    }

    @Test(arguments: [settings[0], settings[3], settings[14]])
    func connectingAndDisconnectingInBetweenChangesNoByte(setting: Setting) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engines = [
            try script.engine(nil, update: setting.update),
            try script.engine(nil, reasoning: .patient(restartsAfter: [2, 4, 8]), update: setting.update),
        ]
        try await expectEqual(engines, script) { step, i in
            if i == 0 { return }
            if step % 3 == 1 { engines[1].connectReasoningBank(bank) } else { engines[1].disconnectReasoningBank() }
        }
        #expect(bank.count(of: .learn) > 0)
    }

    /// The hash of the reference run without banks, with one that is connected.
    @Test func theReferenceRunWithAQuietBankGivesThePublishedHash() async throws {
        let script = try Script()
        let engine = try script.engine(
            ScriptedReasoningBank.advising(.none), reasoning: .patient(restartsAfter: [2, 4]))
        for step in 0..<ReproducibilityTests.steps {
            for user in ReproducibilityTests.users {
                try await engine.updateAdapter(for: user, with: script.batch(user, step))
            }
        }
        var hash = StableHash()
        for user in ReproducibilityTests.users {
            hash.combine(try #require(try await engine.adapter(for: user)).stateHash)
        }
        #expect(hash.finalized() == ReproducibilityTests.referenceHash)
    }

    @Test func refusedAndEmptyBatchesAreTheSame() async throws {
        let script = try Script()
        for isStrict in [false, true] {
            let engines = [
                try script.engine(nil, isStrict: isStrict),
                try script.engine(
                    ScriptedReasoningBank.advising(.none), reasoning: .patient(restartsAfter: [1, 2]),
                    isStrict: isStrict),
            ]
            var bad = script.batch("ada", 1)
            bad[0].embedding[3] = .nan
            let weightless = [script.one(.ranking, "ada", 0), script.one(.ranking, "ada", 1)].map { sample in
                var sample = sample
                sample.weight = 0
                return sample
            }
            for engine in engines {
                for feedback in [bad, weightless] {
                    await #expect(throws: EngineError.self) {
                        try await engine.updateAdapter(for: "ada", with: feedback)
                    }
                }
                #expect(try await engine.adapter(for: "ada") == nil && engine.slotCount == 0)
                if isStrict {
                    await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: "ada", with: []) }
                    try await engine.createAdapter(for: "ada")
                } else {
                    #expect(try await engine.updateAdapter(for: "ada", with: []).version == 0)
                }
                for step in 0..<4 {
                    try await engine.updateAdapter(for: "ada", with: script.batch("ada", step))
                    let before = try await engine.adapter(for: "ada")?.stateHash
                    for feedback in [bad, weightless] {
                        await #expect(throws: EngineError.self) {
                            try await engine.updateAdapter(for: "ada", with: feedback)
                        }
                    }
                    #expect(try await engine.updateAdapter(for: "ada", with: []).version == UInt64(step) + 1)
                    #expect(try await engine.adapter(for: "ada")?.stateHash == before)
                }
                #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 4)[4].stateHash)
            }
        }
    }
}
