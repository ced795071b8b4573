// swift-tools-version: 6.3
import PackageDescription

// Small programs that show one thing each; `scripts/check examples` builds and runs every one of them and compares what
// it prints with Expected/NAME.txt.
let examples = [
    "BasicUse", "RetrievalQuery",
    "WithoutABank", "WithABank", "TransferFromSimilarUsers", "ConsolidationWorkflow", "HotSwappingBanks",
    "CacheManagement", "ContinualLearning", "LearningFromScores", "RecordingModelCalls",
]

let attune = Target.Dependency.product(name: "Attune", package: "attune")

let package = Package(
    name: "examples",
    dependencies: [.package(name: "attune", path: "..")],
    targets: [
        .target(
            name: "Support", dependencies: [attune], path: "Support",
            swiftSettings: [
                .enableUpcomingFeature("InternalImportsByDefault")
            ])
    ] + examples.map { .executableTarget(name: $0, dependencies: [attune, "Support"]) },
    swiftLanguageModes: [.v6]
)
