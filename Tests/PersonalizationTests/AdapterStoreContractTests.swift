import LoRA
import Personalization
import StorageTesting
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(10)))
struct AdapterStoreContractTests {
    @Test func theStoreInMemoryKeepsTheContract() async throws {
        let violations = try await AdapterStoreContract { InMemoryAdapterStore() }.violations()
        #expect(violations.isEmpty, "\(violations)")
    }

    @Test func aSlowStoreKeepsTheContract() async throws {
        let violations = try await AdapterStoreContract { TroubledStore(InMemoryAdapterStore(), pauses: 2) }
            .violations()
        #expect(violations.isEmpty, "\(violations)")
    }

    /// Under a sanitizer three of them: every one of them takes the whole contract, with the same store beneath.
    static let faults = underSanitizer(
        [.dropsOptimizerState, .storesParts, .throwsAlways], otherwise: BrokenStore.Fault.allCases)

    @Test(arguments: faults)
    func aBrokenStoreIsFoundOut(fault: BrokenStore.Fault) async throws {
        let violations = try await AdapterStoreContract { BrokenStore(fault) }.violations()
        #expect(!violations.isEmpty)
        #expect(
            violations.allSatisfy { !$0.promise.isEmpty && !$0.expected.isEmpty && $0.description.contains($0.seen) })
    }

    @Test func whatMakesStoresMayThrow() async throws {
        await #expect(throws: TroubledStore.Fault.self) {
            try await AdapterStoreContract { throw TroubledStore.Fault() }.violations()
        }
    }
}

/// A store with one mistake.
struct BrokenStore: AdapterStore {
    enum Fault: String, CaseIterable, Sendable {
        case acceptsLowerVersions, dropsOptimizerState, mergesLookalikes, forgetsToRemove, listsUnordered, storesParts
        case losesModels, throwsAlways
    }
    struct Mistake: Error {}
    let fault: Fault
    let base = InMemoryAdapterStore()

    init(_ fault: Fault) { self.fault = fault }

    private func key(_ user: String) -> String {
        fault == .mergesLookalikes && user == "e\u{301}" ? "\u{E9}" : user
    }

    func load(_ user: String) async throws -> StoredAdapter? {
        if fault == .throwsAlways { throw Mistake() }
        var record = try await base.load(key(user))
        if fault == .losesModels { record?.embeddingModel = "" }
        if fault == .dropsOptimizerState, let held = record?.adapter {
            record?.adapter = try LoRAAdapter(
                shape: held.shape, identity: held.identity, down: held.down, up: held.up, bias: held.bias,
                version: held.version, steps: held.steps)
        }
        return record
    }

    func save(_ adapters: [StoredAdapter]) async throws {
        let renamed = adapters.map {
            StoredAdapter(user: key($0.user), embeddingModel: $0.embeddingModel, adapter: $0.adapter)
        }
        switch fault {
        case .acceptsLowerVersions:
            for record in renamed {
                _ = try await base.remove(record.user)
                try await base.save([record])
            }
        case .storesParts: for record in renamed { try await base.save([record]) }
        default: try await base.save(renamed)
        }
    }

    func remove(_ user: String) async throws -> Bool {
        fault == .forgetsToRemove ? try await base.load(user) != nil : try await base.remove(key(user))
    }

    func users() async throws -> [String] {
        fault == .listsUnordered ? try await base.users().reversed() : try await base.users()
    }
}
