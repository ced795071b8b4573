import Attune

/// One adapter learns one user's taste: it starts as the identity and is pulled towards what the user likes.
@main
struct BasicUse {
    static func main() throws {
        let shape = try AdapterShape(dimension: 4, rank: 2)
        var adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, user: "ada"))

        // The user searched with `query` and liked an item that points elsewhere.
        let query: [Float] = [1, 0, 0, 0]
        let liked: [Float] = [0.6, 0.8, 0, 0]
        print("Before any feedback the query is unchanged:", try adapter.forward(query) == query)

        let before = similarity(try adapter.forward(query), liked)
        let feedback = Feedback(embedding: query, signal: .target(liked))
        for _ in 0..<20 { _ = try adapter.update(with: [feedback], configuration: UpdateConfiguration()) }
        let after = similarity(try adapter.forward(query), liked)

        print("Version after 20 updates:", adapter.version)
        print("Similarity of query and liked item: \(percent(before)) before, \(percent(after)) after")
    }

    /// The cosine of the angle between two embeddings.
    static func similarity(_ x: [Float], _ y: [Float]) -> Float {
        func dot(_ x: [Float], _ y: [Float]) -> Float { zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } }
        return dot(x, y) / (dot(x, x) * dot(y, y)).squareRoot()
    }

    static func percent(_ value: Float) -> String { "\(Int((value * 100).rounded())) %" }
}
