import Attune
import Benchmarking
import Foundation

/// Merging of very many adapters, each made when it is added and then gone.
struct MergeResult: Codable {
    let dimension: Int
    let rank: Int
    let donors: Int
    /// Making an adapter is not in it.
    let addSeconds: Double
    /// The decomposition of the sum, without the estimate of the shrinkage and with it.
    let mergeSeconds: Double
    let estimatedMergeSeconds: Double
    /// The most memory that the process had, and that it had before the first adapter.
    let peakBytes: Int
    let bytesBefore: Int

    var microsecondsPerDonor: Double { addSeconds * 1e6 / Double(donors) }

    enum CodingKeys: String, CodingKey {
        case dimension, rank, donors
        case addSeconds = "add_seconds"
        case mergeSeconds = "merge_seconds"
        case estimatedMergeSeconds = "estimated_merge_seconds"
        case peakBytes = "peak_bytes"
        case bytesBefore = "bytes_before"
    }
}

extension Benchmark {
    /// Every number of donors in a process of its own, so that the peak is that number's alone.
    static func merge(_ options: Options) throws {
        var results: [MergeResult] = []
        if !options.isJSON {
            print("d/r, donors: adding (µs a donor), decomposing / with the shrinkage estimated, peak memory (before)")
        }
        for shape in options.shapes ?? [KernelBenchmark.Shape(dimension: 384, rank: 8)] {
            for donors in options.adapters.map({ [$0] }) ?? (options.isQuick ? [1000] : [1000, 10_000, 100_000]) {
                let data = try child(["merge-one", "\(shape.dimension)", "\(shape.rank)", "\(donors)"])
                let result = try JSONDecoder().decode(MergeResult.self, from: data)
                results.append(result)
                guard !options.isJSON else { continue }
                print(
                    "\(result.dimension)/\(result.rank), \(result.donors): \(rounded(result.addSeconds)) s "
                        + "(\(rounded(result.microsecondsPerDonor))), \(rounded(result.mergeSeconds * 1000)) / "
                        + "\(rounded(result.estimatedMergeSeconds * 1000)) ms, "
                        + "\(rounded(Double(result.peakBytes) / 1e6)) MB (\(rounded(Double(result.bytesBefore) / 1e6)))"
                )
            }
        }
        guard options.isJSON else { return }
        print(String(decoding: try JSONEncoder().encode(["merge": results]), as: UTF8.self))
    }

    /// One number of donors: arguments dimension, rank, donors.
    static func mergeOne(_ arguments: [Int]) throws {
        guard arguments.count == 3 else { throw UsageError("merge-one takes a dimension, a rank and a number") }
        let (dimension, rank, donors) = (arguments[0], arguments[1], arguments[2])
        let shape = try AdapterShape(dimension: dimension, rank: rank)
        var random = PhiloxGenerator(seed: 43, purpose: .simulation)
        let size = 1 / Float(dimension).squareRoot()
        func row() -> [Float] { (0..<dimension).map { _ in random.uniform(in: -size..<size) } }
        // What donors have in common, and as much of their own again.
        let common = (down: (0..<rank).map { _ in row() }, up: (0..<rank).map { _ in row() })
        func factor(_ common: [[Float]]) throws -> Matrix<Float> {
            try Matrix(
                rows: rank, columns: dimension,
                elements: common.flatMap { values in values.map { $0 + random.uniform(in: -size..<size) } })
        }
        let probe = row()
        var mean = [Double](repeating: 0, count: dimension)
        let before = try processMemory("VmRSS")
        let clock = ContinuousClock()
        var adding = Duration.zero
        var merger = try AdapterMerger(dimension: dimension)
        for i in 0..<donors {
            let donor = try LoRAAdapter(
                shape: shape, identity: AdapterIdentity(seed: 43, stream: UInt64(i)), down: factor(common.down),
                up: factor(common.up))
            let start = clock.now
            try merger.add(donor)
            adding += clock.now - start
            let output = try donor.forward(probe)
            for j in mean.indices { mean[j] += Double(output[j] - probe[j]) / Double(donors) }
        }
        let start = clock.now
        let prior = try merger.merged(rank: rank, shrinkage: .none)
        let middle = clock.now
        let estimated = try merger.merged(rank: rank)
        let end = clock.now
        // The mean of the donors' maps is the prior's but for what was cut, of which the norm is known.
        let warm = try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 43, stream: 0), startingFrom: prior)
        let output = try warm.forward(probe)
        var (error, length, input) = (0.0, 0.0, 0.0)
        for j in mean.indices {
            let value = Double(output[j] - probe[j])
            error += (value - mean[j]) * (value - mean[j])
            length += mean[j] * mean[j]
            input += Double(probe[j]) * Double(probe[j])
        }
        let bound = prior.discardedTail * input.squareRoot() + 1e-5 * length.squareRoot()
        guard prior.donors == donors, error.squareRoot() <= bound, estimated.shrinkage > 0 else {
            throw WrongResult("the prior is \(error.squareRoot()) from the mean of the maps, \(bound) at most")
        }
        let result = MergeResult(
            dimension: dimension, rank: rank, donors: donors, addSeconds: adding / .seconds(1),
            mergeSeconds: (middle - start) / .seconds(1), estimatedMergeSeconds: (end - middle) / .seconds(1),
            peakBytes: try processMemory("VmHWM"), bytesBefore: before)
        print(String(decoding: try JSONEncoder().encode(result), as: UTF8.self))
    }
}
