// swift-tools-version: 6.3
import PackageDescription

// A package that depends on Attune as a user's would. Its one source file is the README's first program: `scripts/check`
// takes it out of README.md, builds it and compares what it prints.
let package = Package(
    name: "consumer",
    dependencies: [.package(name: "attune", path: "../..")],
    targets: [
        .executableTarget(name: "Consumer", dependencies: [.product(name: "Attune", package: "attune")])
    ],
    swiftLanguageModes: [.v6]
)
