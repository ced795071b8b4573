import CHnsw
import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("The graph behind its functions of C")
struct NeighborGraphTests {
    func vectors(_ count: Int, dimension: Int, seed: UInt64) -> [[Float]] {
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        return (0..<count).map { _ in Population.unit((0..<dimension).map { _ in random.normal() }) }
    }

    func makeGraph(dimension: Int = 8, capacity: Int = 5_000, links: Int = 8, construction: Int = 40) throws
        -> NeighborGraph
    {
        try NeighborGraph(
            dimension: dimension, capacity: capacity, links: links, construction: construction, seed: 5)
    }

    func add(_ graph: NeighborGraph, _ id: UInt64, _ vector: [Float]) throws(GraphError) {
        try vector.span.withBuffer { buffer throws(GraphError) in try graph.add(EpisodeID(id), buffer) }
    }

    func code(_ body: () throws -> Void) -> GraphError.Code? {
        do {
            try body()
            return nil
        } catch {
            #expect(((error as? GraphError)?.message.isEmpty ?? true) == false)
            return (error as? GraphError)?.code
        }
    }

    @Test("finds the nearest, in order, with the kernels' bits")
    func finds() throws {
        let graph = try makeGraph()
        let all = vectors(300, dimension: 8, seed: 1)
        for (i, vector) in all.enumerated() { try add(graph, UInt64(1_000 + i), vector) }
        #expect(graph.count == 300)
        for query in vectors(20, dimension: 8, seed: 2) {
            let products = all.map { row in row.span.withBuffer { a in query.span.withBuffer { Kernels.dot(a, $0) } } }
            let found = try graph.search(query, limit: 60)
            #expect(found.count == 60)
            #expect(found.similarities == found.ids.map { products[Int($0) - 1_000] })
            #expect(found.similarities == found.similarities.sorted(by: >))
            let best = products.indices.sorted { products[$0] > products[$1] }.prefix(5)
            #expect(found.ids.prefix(5).map { Int($0) - 1_000 } == Array(best))
        }
        #expect(try graph.search(all[0], limit: 1_000).count <= 300)
    }

    @Test("takes as many as it has room for, and answers alike when made again")
    func isDeterministic() throws {
        let count = 1_000
        let all = vectors(count, dimension: 4, seed: 3)
        let graphs = try (0..<2).map { _ in try makeGraph(dimension: 4, capacity: count, links: 4, construction: 8) }
        for graph in graphs {
            for (i, vector) in all.enumerated() { try add(graph, UInt64(i), vector) }
            #expect(graph.count == count)
            #expect(code { try add(graph, UInt64(count), all[0]) } == .refused)
        }
        for query in vectors(10, dimension: 4, seed: 4) {
            let (a, b) = (try graphs[0].search(query, limit: 50), try graphs[1].search(query, limit: 50))
            #expect(a.ids == b.ids && a.similarities == b.similarities && a.count == b.count)
        }
    }

    @Test("refuses what is out of range, and goes on")
    func refuses() throws {
        for (dimension, capacity, links, construction) in [
            (0, 10, 8, 40), (65_537, 10, 8, 40), (8, 0, 8, 40), (8, .max, 8, 40), (8, 10, 1, 40), (8, 10, 101, 40),
            (8, 10, 8, 0), (8, 10, 8, 10_001), (-1, 10, 8, 40), (8, -1, 8, 40),
        ] {
            #expect(
                code {
                    _ = try makeGraph(
                        dimension: dimension, capacity: capacity, links: links, construction: construction)
                } == .invalid, "\(dimension) \(capacity) \(links) \(construction)")
        }
        let graph = try makeGraph(capacity: 2)
        let vector = [Float](repeating: 0.5, count: 8)
        #expect(try graph.search(vector, limit: 3).count == 0)
        try add(graph, 7, vector)
        #expect(code { try add(graph, 7, vector) } == .refused)
        #expect(code { try add(graph, 8, [.nan] + vector.dropFirst()) } == .invalid)
        #expect(code { _ = try graph.search(vector.dropLast() + [.infinity], limit: 1) } == .invalid)
        #expect(code { _ = try graph.search(vector, limit: 0) } == .invalid)
        #expect(code { _ = try graph.search(vector, limit: -1) } == .invalid)
        try add(graph, 9, vector)
        #expect(code { try add(graph, 10, vector) } == .refused)
        #expect(Set(try graph.search(vector, limit: 2).ids) == [7, 9])
    }

    /// A terabyte and more: an address space that is not given out, on any usual machine. The sanitizers end the process.
    @Test("says that there is no memory", .enabled(if: underSanitizer(false, otherwise: true)))
    func noMemory() {
        var failure = attune_graph_failure()
        let settings = attune_graph_settings(dimension: 65_536, links: 8, construction: 8, seed: 1)
        guard let graph = unsafe attune_graph_create(settings, 4_000_000, &failure) else {
            let text = unsafe withUnsafeBytes(of: failure.text) {
                unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            #expect(text.contains("memory"))
            return
        }
        unsafe attune_graph_free(graph)
    }
}
