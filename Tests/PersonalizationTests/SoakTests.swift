import LoRA
import TensorCore
import TestSupport
import Testing

@testable import Personalization

/// Random operations from many tasks against a model: a dictionary of what each user must have.
@Suite(.timeLimit(.minutes(10)))
struct SoakTests {
    /// One user as the model knows them. Their operations take place one at a time in the test, so that the model is exact; the
    /// engine sees eight tasks at once, checkpoints beside them, and readers that respect no order.
    struct Expected {
        /// `nil` when there is no adapter.
        var adapter: LoRAAdapter?
        /// Rises when the adapter is removed: versions go on only within one life.
        var life = 0
    }

    @Test(arguments: [1, 2])
    func randomOperationsFromEightTasksAgreeWithAModel(variant: UInt64) async throws {
        // The same on every run; another number here searches elsewhere.
        let seed = 271_828 * 2 + variant
        let script = try Script(dimension: 12, rank: 2)
        let inner = TroubledStore(pauses: variant == 1 ? 0 : 1)
        let engine = try script.engine(store: inner)
        let users = (0..<24).map { "user \($0)" }
        let operations = variant == 1 ? underSanitizer(500, otherwise: 2_500) : underSanitizer(200, otherwise: 500)
        let gates = users.map { _ in FIFOGate() }
        let model = Shared([Expected](repeating: Expected(), count: users.count))
        let updates = Shared(0)
        let created = Shared(0)
        let probe = script.probe()

        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<8 {
                group.addTask {
                    var generator = PhiloxGenerator(seed: seed, stream: UInt64(worker))
                    for _ in 0..<operations {
                        let u = generator.integer(below: users.count)
                        let user = users[u]
                        let dice = generator.integer(below: 100)
                        let step = generator.integer(below: 1_000)
                        if dice < 12 {
                            // Without the model's gate: any whole version will do, of whatever life.
                            let read = try await engine.personalize(probe, for: user)
                            #expect(read.embedding.allSatisfy(\.isFinite) && read.user == user)
                            continue
                        }
                        if dice < 15 {
                            _ = try await engine.checkpoint()
                            continue
                        }
                        if dice < 17 {
                            let statistics = engine.statistics()
                            #expect(statistics.residentAdapters <= users.count)
                            #expect(statistics.unsavedAdapters <= statistics.residentAdapters)
                            continue
                        }
                        try await gates[u].pass {
                            var own = model.value[u]
                            switch dice {
                            case ..<55:
                                let batch = script.batch(user, step)
                                let before = try own.adapter ?? script.cold(user)
                                if own.adapter == nil { created.change { $0 += 1 } }
                                let (after, report) = try before.updated(with: batch, configuration: script.update)
                                let found = try await engine.updateAdapter(for: user, with: batch)
                                #expect(found == report, "seed \(seed): \(user), step \(step)")
                                own.adapter = after
                                updates.change { $0 += 1 }
                            case ..<60:
                                var batch = script.batch(user, step)
                                batch[0].embedding[step % 12] = .nan
                                let bad = batch
                                await #expect(throws: EngineError.self, "seed \(seed)") {
                                    try await engine.updateAdapter(for: user, with: bad)
                                }
                            case ..<64:
                                let report = try await engine.updateAdapter(for: user, with: [])
                                #expect(report.version == own.adapter?.version ?? 0, "seed \(seed)")
                            case ..<72:
                                let version = try await engine.createAdapter(for: user)
                                if own.adapter == nil {
                                    own.adapter = try script.cold(user)
                                    created.change { $0 += 1 }
                                }
                                #expect(version == own.adapter?.version, "seed \(seed)")
                            case ..<78:
                                let was = try await engine.removeAdapter(for: user)
                                #expect(was == (own.adapter != nil), "seed \(seed): \(user)")
                                own = Expected(adapter: nil, life: own.life + 1)
                            case ..<88:
                                let found = try await engine.adapter(for: user)
                                #expect(found?.stateHash == own.adapter?.stateHash, "seed \(seed): \(user)")
                            default:
                                let read = try await engine.personalize(probe, for: user)
                                #expect(read.version == own.adapter?.version ?? 0, "seed \(seed): \(user)")
                                #expect(read.isPersonalized == (own.adapter != nil), "seed \(seed): \(user)")
                                #expect(
                                    try read.embedding == own.adapter?.forward(probe) ?? probe, "seed \(seed): \(user)")
                            }
                            let now = own
                            model.change { $0[u] = now }
                        }
                    }
                }
            }
            try await group.waitForAll()
        }

        let final = model.value
        let held = users.indices.filter { final[$0].adapter != nil }
        #expect(try await engine.users() == held.map { users[$0] }.sorted(), "seed \(seed)")
        try await engine.checkpoint()
        let again = try script.engine(store: inner)
        for (u, user) in users.enumerated() {
            let expected = final[u].adapter?.stateHash
            #expect(try await engine.adapter(for: user)?.stateHash == expected, "seed \(seed): \(user)")
            #expect(try await again.adapter(for: user)?.stateHash == expected, "seed \(seed): \(user) after a restart")
        }
        let statistics = engine.statistics()
        #expect(statistics.updates == updates.value && statistics.created == created.value, "seed \(seed)")
        #expect(statistics.residentAdapters == held.count && statistics.unsavedAdapters == 0, "seed \(seed)")
        #expect(statistics.residentBytes == final.reduce(0) { $0 + ($1.adapter?.byteCount ?? 0) }, "seed \(seed)")
        print("soak: seed \(seed), \(statistics.updates) updates of \(users.count) users")
    }
}
