import Attune

/// Holds an embedding in aligned storage and looks at it through a view that copies nothing.
@main
struct BasicUse {
    static func main() {
        let embedding = Vector<Float>([0.5, -0.25, 0.125])
        print("forwards: ", embedding.array)
        print("backwards:", embedding.view.reversed.copied().array)
    }
}
