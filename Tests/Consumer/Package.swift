// swift-tools-version: 6.3
import PackageDescription

// A package that depends on Attune as a user's would. Its sources are the README's first program and the code of the
// documentation's articles: `scripts/check` takes them from there, builds them, runs them and compares what the first
// program prints. The test target is a bank that somebody else wrote, by the protocol alone.
let package = Package(
    name: "consumer",
    dependencies: [.package(name: "attune", path: "../..")],
    targets: [
        .executableTarget(name: "Consumer", dependencies: [.product(name: "Attune", package: "attune")]),
        .executableTarget(
            name: "Articles",
            dependencies: [
                .product(name: "Attune", package: "attune"), .product(name: "StorageTesting", package: "attune"),
            ]),
        .testTarget(
            name: "OwnBankTests",
            dependencies: [
                .product(name: "Attune", package: "attune"), .product(name: "StorageTesting", package: "attune"),
            ]),
    ],
    swiftLanguageModes: [.v6]
)
