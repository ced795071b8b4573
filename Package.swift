// swift-tools-version: 6.3
import PackageDescription

// Warnings are errors where `scripts/check` sets this variable: that must bind us and not the packages that depend on us.
// In the manifest rather than on the command line, so that the README's own commands run unchanged and build only once.
let isStrict = Context.environment["ATTUNE_WARNINGS_AS_ERRORS"] == "1"

// One set of language settings for every Swift target.
let settings: [SwiftSetting] =
    [
        .strictMemorySafety(),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ] + (isStrict ? [.treatAllWarnings(as: .error)] : [])

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies + ["TestSupport"], resources: resources, swiftSettings: settings)
}

let package = Package(
    name: "attune",
    products: [
        .library(name: "Attune", targets: ["Attune"]),
        .library(name: "StorageTesting", targets: ["StorageTesting"]),
        // What 'attune bench' times, for the package in Benchmarks/; no part of the library.
        .library(name: "Benchmarking", targets: ["Benchmarking"]),
        .executable(name: "attune", targets: ["AttuneCommand"]),
    ],
    targets: [
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CLapacke", pkgConfig: "lapacke", providers: [.apt(["liblapacke-dev"])]),
        .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(
            name: "CKernels", cSettings: [.enableWarning("all")] + (isStrict ? [.treatAllWarnings(as: .error)] : [])),
        .target(
            name: "CPageChecksums", dependencies: ["CSQLite", "CXXHash"],
            cSettings: [.enableWarning("all")] + (isStrict ? [.treatAllWarnings(as: .error)] : [])),

        .target(
            name: "CHnsw", dependencies: ["CKernels"],
            cxxSettings: [.enableWarning("all")] + (isStrict ? [.treatAllWarnings(as: .error)] : []),
            linkerSettings: [.linkedLibrary("m")]),

        module("TensorCore", ["CKernels", "COpenBLAS", "CLapacke", "CXXHash"]),
        module("Telemetry"),
        module("LoRA", ["TensorCore"]),
        module("Reasoning", ["LoRA", "TensorCore", "Telemetry", "CHnsw"]),
        module("Personalization", ["Reasoning", "LoRA", "TensorCore", "Telemetry"]),
        module("Evaluation", ["Personalization", "Reasoning", "LoRA", "TensorCore"]),
        module("LearningRecords", ["Reasoning", "TensorCore", "Telemetry", "CCrypto"]),
        module(
            "SQLiteStorage",
            [
                "LearningRecords", "Personalization", "Reasoning", "LoRA", "TensorCore", "CSQLite", "CPageChecksums",
            ]),
        module("LearningLoop", ["LearningRecords", "Personalization", "LoRA", "TensorCore"]),
        module("StorageTesting", ["LearningRecords", "Reasoning", "Personalization", "LoRA", "TensorCore"]),
        module(
            "Attune",
            [
                "SQLiteStorage", "LearningLoop", "LearningRecords", "Evaluation", "Personalization", "Reasoning",
                "LoRA",
                "TensorCore", "Telemetry",
            ]),
        .target(
            name: "CAllocations", cSettings: [.enableWarning("all")] + (isStrict ? [.treatAllWarnings(as: .error)] : [])
        ),
        module("Benchmarking", ["Evaluation", "Personalization", "Reasoning", "LoRA", "TensorCore", "CAllocations"]),
        .executableTarget(
            name: "AttuneCommand", dependencies: ["Attune", "Benchmarking", "TensorCore"], swiftSettings: settings),

        // What scripts/kill-loop kills, and what looks afterwards.
        .executableTarget(
            name: "KillLoop",
            dependencies: [
                "SQLiteStorage", "StorageTesting", "LearningLoop", "LearningRecords", "Personalization", "Reasoning",
                "LoRA",
                "TensorCore",
            ],
            path: "Tests/KillLoop", swiftSettings: settings),
        .target(name: "TestSupport", path: "Tests/Support", swiftSettings: settings),
        tests("TensorCoreTests", ["TensorCore", "CKernels"]),
        tests("LoRATests", ["LoRA", "TensorCore"]),
        tests("LearningRecordsTests", ["LearningRecords", "StorageTesting", "Reasoning", "TensorCore", "Telemetry"]),
        tests(
            "LearningLoopTests",
            [
                "LearningLoop", "LearningRecords", "SQLiteStorage", "Personalization", "Reasoning", "LoRA",
                "TensorCore",
            ]),
        tests("ReasoningTests", ["Reasoning", "StorageTesting", "LoRA", "TensorCore", "Telemetry", "CHnsw"]),
        tests(
            "PersonalizationTests",
            ["Personalization", "Reasoning", "StorageTesting", "LoRA", "TensorCore", "Telemetry"]),
        tests(
            "EvaluationTests", ["Evaluation", "StorageTesting", "Personalization", "Reasoning", "LoRA", "TensorCore"]),
        tests(
            "SQLiteStorageTests",
            [
                "SQLiteStorage", "StorageTesting", "LearningRecords", "Personalization", "Reasoning", "LoRA",
                "TensorCore", "CSQLite", "CPageChecksums",
            ]),
        tests(
            "AttuneCommandTests",
            ["AttuneCommand", "Attune", "Benchmarking", "StorageTesting", "TensorCore", "CSQLite"]),
    ],
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx17
)
