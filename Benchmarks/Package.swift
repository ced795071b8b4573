// swift-tools-version: 6.3
import PackageDescription

let package = Package(
    name: "benchmarks",
    dependencies: [.package(name: "attune", path: "..")],
    targets: [
        .target(name: "CReference", path: "Sources/CReference"),
        .executableTarget(
            name: "Benchmark",
            dependencies: [
                .product(name: "Attune", package: "attune"), .product(name: "Benchmarking", package: "attune"),
                "CReference",
            ], path: "Sources/Benchmark",
            swiftSettings: [.strictMemorySafety()]),
        // What scripts/gate runs under callgrind.
        .executableTarget(
            name: "Gate",
            dependencies: [
                .product(name: "Attune", package: "attune"), .product(name: "Benchmarking", package: "attune"),
            ], path: "Sources/Gate", swiftSettings: [.strictMemorySafety()]),
    ],
    swiftLanguageModes: [.v6]
)
