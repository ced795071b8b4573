// swift-tools-version: 6.3
import PackageDescription

// A package that depends on Attune as a user's would. Its sources are the README's first program and the code of the
// documentation's articles: `scripts/check` takes them from there, builds them, runs them and compares what the first
// program prints. The test target is a bank that somebody else wrote, by the protocol alone.
//
// The examples are a package of their own for those who try them. They are here too, through a link, so that Attune is built once for
// all that depends on it.
let examples = [
    "BasicUse", "RetrievalQuery",
    "WithoutABank", "WithABank", "TransferFromSimilarUsers", "ConsolidationWorkflow", "HotSwappingBanks",
    "CacheManagement", "ContinualLearning", "LearningFromScores", "RecordingModelCalls",
]

let attune = Target.Dependency.product(name: "Attune", package: "attune")

let package = Package(
    name: "consumer",
    dependencies: [.package(name: "attune", path: "../..")],
    targets: [
        .executableTarget(name: "Consumer", dependencies: [attune]),
        .executableTarget(
            name: "Articles",
            dependencies: [attune, .product(name: "StorageTesting", package: "attune")]),
        .testTarget(
            name: "OwnBankTests",
            dependencies: [attune, .product(name: "StorageTesting", package: "attune")]),
        .target(
            name: "Support", dependencies: [attune], path: "Examples/Support",
            swiftSettings: [.enableUpcomingFeature("InternalImportsByDefault")]),
    ]
        + examples.map {
            .executableTarget(name: $0, dependencies: [attune, "Support"], path: "Examples/Sources/\($0)")
        },
    swiftLanguageModes: [.v6]
)
