import Attune

/// Dimensions of embedding models in use.
let vectorShapes = [64, 384, 768, 1_536]

/// Copying a view into a vector of its own.
func vectorCopy(_ dimension: Int, _ effort: Effort) throws -> Measurement {
    let source = Vector<Float>((0..<dimension).map { Float($0) / 7 })
    var copy = source
    let result = effort.measure("vector copy, \(dimension)") { _ in
        copy = source.view.copied()
        blackHole(copy)
    }
    guard copy == source else { throw WrongResult(description: "\(result.name): the copy differs") }
    return result
}
