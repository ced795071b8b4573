// swift-tools-version: 6.3
import PackageDescription

// Small programs that show one thing each. `scripts/check` builds and runs every one of them and compares what it
// prints with Expected/NAME.txt.
let examples = ["BasicUse", "RetrievalQuery", "TransferFromPopulation"]

let package = Package(
    name: "examples",
    dependencies: [.package(name: "attune", path: "..")],
    targets: examples.map {
        .executableTarget(name: $0, dependencies: [.product(name: "Attune", package: "attune")])
    },
    swiftLanguageModes: [.v6]
)
