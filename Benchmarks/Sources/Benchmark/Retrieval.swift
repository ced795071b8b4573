import Attune
import Benchmarking
import Foundation

extension Benchmark {
    /// Each size in a process of its own, so that memory is that size's alone.
    static func retrieval(_ options: Options) async throws {
        var sizes = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
        if !options.isQuick { sizes += [100_000, 1_000_000] }
        var results: [RetrievalResult] = []
        if !options.isJSON {
            print(
                "data, episodes: exact p50 / p99, graph p50 / p99 (µs; share by graph), recall@10 (all rewards), graphs "
                    + "(refused), ef, indexing µs an episode, longest piece ms, bytes an episode + graph's")
        }
        for isGrouped in [true, false] {
            for episodes in sizes {
                let data = try child(["retrieval-one", "\(episodes)", isGrouped ? "1" : "0"])
                let result = try JSONDecoder().decode(RetrievalResult.self, from: data)
                results.append(result)
                if !options.isJSON { print(line(result)) }
            }
        }
        var misses: [MissResult] = []
        for (isAsking, isInFile) in [(false, false), (true, false), (false, true), (true, true)] {
            let folder = try PassingFolder("attune-retrieval", in: options.folder)
            defer { folder.remove() }
            let data = try child([
                "retrieval-update", options.isQuick ? "20000" : "100000", isAsking ? "1" : "0",
                isInFile ? folder.url.appending(path: "attune.db").path : "",
            ])
            let miss = try JSONDecoder().decode(MissResult.self, from: data)
            misses.append(miss)
            guard !options.isJSON else { continue }
            print(
                "\(miss.name), \(miss.episodes) episodes: p50 \(rounded(miss.p50)) µs, p99 \(rounded(miss.p99)) µs, "
                    + "longest \(rounded(miss.max)) µs of \(miss.updates); look-ups of episodes by graph "
                    + "\(miss.graphLookups), exact \(miss.exactLookups)")
        }
        struct All: Encodable {
            let retrieval: [RetrievalResult]
            let misses: [MissResult]
        }
        if options.isJSON {
            print(String(decoding: try JSONEncoder().encode(All(retrieval: results, misses: misses)), as: UTF8.self))
        }
    }

    private static func line(_ result: RetrievalResult) -> String {
        func share(_ value: Double) -> String { "\((value * 1000).rounded() / 1000)" }
        return "\(result.isGrouped ? "grouped" : "hard"), \(result.episodes): \(rounded(result.exactP50)) / "
            + "\(rounded(result.exactP99)), \(rounded(result.graphP50)) / \(rounded(result.graphP99)) "
            + "(\(share(result.graphShare))), \(share(result.recall)) (\(share(result.recallOfAll))), "
            + "\(result.graphs) (\(result.refused)), \(result.effort), \(rounded(result.indexingPerEpisode)), "
            + "\(rounded(result.longestPiece)), \(rounded(result.bytesPerEpisode)) + "
            + "\(rounded(result.graphBytesPerEpisode))"
    }

    static func retrievalOne(_ arguments: [Int]) throws {
        guard arguments.count == 2, arguments[0] > 0 else { throw UsageError("retrieval-one needs two numbers") }
        let result = try RetrievalBenchmark.run(
            episodes: arguments[0], isGrouped: arguments[1] == 1, queries: arguments[0] > 200_000 ? 300 : 1_000,
            memory: residentMemory)
        print(String(decoding: try JSONEncoder().encode(result), as: UTF8.self))
    }
}
