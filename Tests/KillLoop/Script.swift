import LoRA
import Personalization
import TensorCore

/// What every writer does: so that an update's feedback follows from its user and version.
enum Script {
    static let dimension = 16
    static let writers = 4
    static let usersOfWriter = 2

    static func catalogue() throws -> ItemCatalogue {
        var generator = PhiloxGenerator(seed: 1, stream: 1, purpose: .initialization)
        let rows = (0..<50).map { _ in (0..<dimension).map { _ in generator.uniformFloat() - 0.5 } }
        return try ItemCatalogue(vectors: try Matrix(rows: rows))
    }

    /// A writer's user. Who is forgotten stays forgotten, and another generation begins.
    static func user(_ writer: Int, _ number: Int, generation: Int) -> String {
        "user \(writer).\(number) generation \(generation)."
    }

    /// The name of the feedback that made a version of a user's adapter from the one before.
    static func id(_ user: String, before version: UInt64) -> FeedbackID { FeedbackID("\(user) \(version)") }

    /// The feedback that makes a user's adapter of `version` the next one.
    static func feedback(_ user: String, _ version: UInt64, _ catalogue: ItemCatalogue) -> [Feedback] {
        var generator = PhiloxGenerator(seed: version, stream: StableHash.hash(user), purpose: .initialization)
        let item = Int(version % 50)
        if version % 3 == 0 {
            let vector = (0..<dimension).map { _ in generator.uniformFloat() - 0.5 }
            return [Feedback(embedding: vector, signal: .target(vector.reversed()))]
        }
        return [Feedback(of: item, in: catalogue, signal: .like((item + 7) % 50, in: catalogue, seen: [item]))]
    }

    static func configuration(round: Int) -> EngineConfiguration {
        EngineConfiguration(
            dimension: dimension, rank: 2, seed: 3, durability: round % 2 == 0 ? .synced : .buffered,
            checkpoints: CheckpointPolicy(updatesPerUser: 32, updates: 500))
    }
}

/// A line of what a writer says: before it forgets, and after anything is acknowledged.
enum Line {
    /// A process has begun: what the one before had not acknowledged may be there or not.
    case round
    case updated(String, UInt64)
    /// A piece of feedback, by the version that it had made.
    case forgettingPiece(String, UInt64)
    case forgotPiece(String, UInt64, version: UInt64)
    case forgettingUser(String)
    case forgotUser(String, isErased: Bool)
    /// An episode of the bank's script, by its place there.
    case episode(Int, id: UInt64)
    case forgettingDonor(String)
    case forgotDonor(String)
    case consolidated
    /// A recording of calls has begun, has so many calls, has ended.
    case recording(String)
    case recorded(String, UInt64)
    case ended(String)
    /// A record of each kind was told to its end; a message of a topic was delivered.
    case told(String)
    case delivered(String, UInt64)

    var text: String {
        switch self {
        case .round: "round\n"
        case .updated(let user, let version): "updated\t\(user)\t\(version)\n"
        case .forgettingPiece(let user, let piece): "forgetting piece\t\(user)\t\(piece)\n"
        case .forgotPiece(let user, let piece, let version): "forgot piece\t\(user)\t\(piece)\t\(version)\n"
        case .forgettingUser(let user): "forgetting user\t\(user)\n"
        case .forgotUser(let user, let isErased): "forgot user\t\(user)\t\(isErased)\n"
        case .episode(let place, let id): "episode\t\(place)\t\(id)\n"
        case .forgettingDonor(let user): "forgetting donor\t\(user)\n"
        case .forgotDonor(let user): "forgot donor\t\(user)\n"
        case .consolidated: "consolidated\n"
        case .recording(let id): "recording\t\(id)\n"
        case .recorded(let id, let count): "recorded\t\(id)\t\(count)\n"
        case .ended(let id): "ended\t\(id)\n"
        case .told(let id): "told\t\(id)\n"
        case .delivered(let topic, let sequence): "delivered\t\(topic)\t\(sequence)\n"
        }
    }

    init?(_ text: Substring) {
        let parts = text.split(separator: "\t")
        let user = parts.count > 1 ? String(parts[1]) : ""
        let numbers = parts.dropFirst(2).map { UInt64($0) ?? .max }
        switch (parts.first ?? "", numbers.count) {
        case ("round", 0): self = .round
        case ("updated", 1): self = .updated(user, numbers[0])
        case ("forgetting piece", 1): self = .forgettingPiece(user, numbers[0])
        case ("forgot piece", 2): self = .forgotPiece(user, numbers[0], version: numbers[1])
        case ("forgetting user", 0): self = .forgettingUser(user)
        case ("forgot user", 1): self = .forgotUser(user, isErased: parts[2] == "true")
        case ("episode", 1): self = .episode(Int(user) ?? -1, id: numbers[0])
        case ("forgetting donor", 0): self = .forgettingDonor(user)
        case ("forgot donor", 0): self = .forgotDonor(user)
        case ("consolidated", 0): self = .consolidated
        case ("recording", 0): self = .recording(user)
        case ("recorded", 1): self = .recorded(user, numbers[0])
        case ("ended", 0): self = .ended(user)
        case ("told", 0): self = .told(user)
        case ("delivered", 1): self = .delivered(user, numbers[0])
        default: return nil
        }
    }
}
