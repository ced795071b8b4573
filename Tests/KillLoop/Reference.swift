import LoRA
import Personalization
import TensorCore

/// What a user's entries make of an adapter, without the library's own replay.
struct Reference {
    let catalogue: ItemCatalogue
    private let configuration = Script.configuration(round: 0)
    private let shape: AdapterShape

    init() throws {
        catalogue = try Script.catalogue()
        shape = try configuration.validatedShape()
    }

    /// What is wrong with an adapter that is said to have seen a user's entries up to its version; `nil` for nothing.
    func fault(_ user: String, _ entries: [JournalEntry], _ adapter: LoRAAdapter?) throws -> String? {
        var last: UInt64 = 0
        var reference = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: configuration.seed, user: user))
        for entry in entries {
            if entry.version <= last { return "version \(entry.version) after \(last)" }
            last = entry.version
            guard let id = entry.id else { continue }
            if id != Script.id(user, before: entry.version - 1) { return "version \(entry.version) has another id" }
            guard let adapter, entry.version <= adapter.version else { continue }
            _ = try reference.update(
                with: Script.feedback(user, entry.version - 1, catalogue), configuration: configuration.update)
        }
        guard let adapter else { return nil }
        guard entries.contains(where: { $0.version == adapter.version }) else {
            return "no entry has made version \(adapter.version)"
        }
        guard Self.state(reference) == Self.state(adapter) else {
            return "version \(adapter.version) has other bytes than its reference"
        }
        return nil
    }

    /// An adapter's bytes without its version, which forgetting raises, and without the checksum.
    private static func state(_ adapter: LoRAAdapter) -> [UInt8] {
        var bytes = adapter.snapshot()
        bytes.removeLast(8)
        bytes.replaceSubrange(48..<56, with: repeatElement(0, count: 8))
        return bytes
    }
}
