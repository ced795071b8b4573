import LoRA
import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The map and the losses once more in Float64, as their formulas read, with the C library's functions.
struct ReferenceModel {
    /// A, then B transposed, then b.
    var parameters: [Double]
    let shape: AdapterShape
    let scale: Double

    init(_ adapter: LoRAAdapter) {
        shape = adapter.shape
        parameters = (adapter.down.array + adapter.up.array + (adapter.bias ?? [])).map(Double.init)
        let rank = Double(shape.rank)
        scale = Double(shape.alpha) / (shape.scaling == .standard ? rank : rank.squareRoot())
    }

    /// The map before a division by the norm.
    func unnormalized(_ x: [Float]) -> [Double] {
        let (r, d) = (shape.rank, shape.dimension)
        var y = x.map(Double.init)
        for k in 0..<r {
            let h = (0..<d).reduce(0.0) { $0 + parameters[k * d + $1] * Double(x[$1]) }
            for j in 0..<d { y[j] += scale * parameters[(r + k) * d + j] * h }
        }
        if shape.hasBias { for j in 0..<d { y[j] += parameters[2 * r * d + j] } }
        return y
    }

    func output(_ x: [Float]) -> [Double] {
        let y = unnormalized(x)
        let length = shape.normalizesOutput ? norm(y) : 0
        return length > 0 ? y.map { $0 / length } : y
    }

    /// A batch's loss. `contrasts` gives, for each like under a sampled loss, how often each item was drawn.
    func loss(_ batch: [Feedback], _ settings: ObjectiveConfiguration, contrasts: [[Int]] = []) -> Double {
        var total = 0.0
        var weights = 0.0
        for (i, sample) in batch.enumerated() {
            let inverse = sample.propensity.map { min(1 / Double($0), Double(settings.highestInversePropensity)) } ?? 1
            let weight = Double(sample.weight) * inverse
            weights += weight
            total += weight * loss(sample, settings, contrasts.isEmpty ? [] : contrasts[i])
        }
        return total / weights
    }

    private func loss(_ sample: Feedback, _ settings: ObjectiveConfiguration, _ drawn: [Int]) -> Double {
        let y = output(sample.embedding)
        func score(_ item: Item) -> Double {
            switch item {
            case .vector(let v, let offset): zip(v, y).reduce(Double(offset)) { $0 + Double($1.0) * $1.1 }
            case .catalogued(let i, let catalogue):
                score(.vector(catalogue.vectors.row(i), offset: catalogue.offsets[i]))
            }
        }
        func softmax(_ scores: [Double], _ chosen: Double) -> Double {
            let logits = scores.map { $0 / Double(settings.temperature) }
            let top = logits.max() ?? 0
            return top + log(logits.reduce(0) { $0 + exp($1 - top) }) - chosen / Double(settings.temperature)
        }
        func logistic(_ margin: Double) -> Double { margin > 0 ? log1p(exp(-margin)) : log1p(exp(margin)) - margin }
        func square(_ target: [Double]) -> Double {
            zip(y, target).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(y.count)
        }
        func rewarded(_ raw: Double, _ item: Item) -> Double {
            let reward = min(1, max(-1, raw))
            return abs(reward) * logistic(reward < 0 ? -score(item) : score(item))
        }
        switch sample.signal {
        case .target(let t): return square(t.map(Double.init))
        case .scaledInput(let reward): return square(sample.embedding.map { Double(reward) * Double($0) })
        case .preference(let item, let others):
            return others.reduce(0) { $0 + logistic(score(item) - score($1)) } / Double(others.count)
        case .ranking(let item, let others): return softmax(([item] + others).map(score), score(item))
        case .reward(let reward, let item): return rewarded(Double(reward) - Double(settings.rewardBaseline), item)
        case .watch(let event, let item):
            let score = min(
                1, Double(event.completion) * 0.5 + Double(event.rating) / 5 * 0.3 + (event.rewatched ? 0.2 : 0))
            let neutral = Double(settings.neutralWatchScore)
            return rewarded((score - neutral) / (score >= neutral ? 1 - neutral : neutral), item)
        case .like(let index, let catalogue, let seen):
            let liked = score(.catalogued(index, catalogue))
            let others = drawn.enumerated().flatMap { item, times in
                [Double](repeating: times > 0 ? score(.catalogued(item, catalogue)) : 0, count: times)
            }
            switch settings.like {
            case .pairwise: return others.reduce(0) { $0 + logistic(liked - $1) } / Double(others.count)
            case .sampledSoftmax(let n, let whole) where catalogue.count > max(whole, n + 1):
                // Each sampled item stands for its share of what is free.
                let free = (0..<catalogue.count).count { $0 != index && !seen.contains($0) }
                let shift = Double(settings.temperature) * log(Double(free) / Double(others.count))
                return softmax([liked] + others.map { $0 + shift }, liked)
            case .sampledSoftmax, .catalogueSoftmax:
                let free = (0..<catalogue.count).filter { $0 == index || !seen.contains($0) }
                return softmax(free.map { score(.catalogued($0, catalogue)) }, liked)
            }
        }
    }

    /// The gradient by central differences of fourth order, whose error here is about 1e-11.
    func gradient(_ batch: [Feedback], _ settings: ObjectiveConfiguration, contrasts: [[Int]] = []) -> [Double] {
        let h = 1e-3
        return parameters.indices.map { i in
            func at(_ offset: Double) -> Double {
                var moved = self
                moved.parameters[i] += offset
                return moved.loss(batch, settings, contrasts: contrasts)
            }
            return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        }
    }
}
