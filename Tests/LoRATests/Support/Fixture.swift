import FoundationEssentials

/// Reference values in Tests/Fixtures; its README says what computed them.
enum Fixture {
    static func load<Content: Decodable>(_ name: String, as type: Content.Type = Content.self) -> Content {
        let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let file = folder.appending(path: "Fixtures/\(name).json")
        do {
            return try JSONDecoder().decode(type, from: Data(contentsOf: file))
        } catch {
            preconditionFailure("the fixture \(file.path) cannot be read: \(error)")
        }
    }
}

/// Parameters after a step, as several fixtures record them.
struct SavedStep: Decodable, Sendable {
    let step: Int
    let values: [Double]
}
