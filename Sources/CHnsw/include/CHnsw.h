// A graph in which the vectors most like another are found without looking at all of them: a hierarchical navigable small
// world (Malkov & Yashunin 2018, arXiv:1603.09320), by hnswlib behind functions of C. Alike means a large inner product,
// which between vectors of length 1 is the cosine.
//
// One thread at a time may add, and none may search meanwhile; searches may go on at the same time as each other. The same
// vectors added in the same order give the same graph. No exception leaves these functions. Nothing is taken out of a graph:
// hnswlib's marks of deletion slow every search down, and adding a vector where all that can be reached is marked reads an
// element of an empty list. Whoever removes a vector passes it over among what is found, and makes the graph again once
// too many are gone.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A graph.
typedef struct attune_graph attune_graph;

typedef enum attune_graph_status : int32_t {
    ATTUNE_GRAPH_OK = 0,
    /// A number is out of range; nothing was changed.
    ATTUNE_GRAPH_INVALID = 1,
    /// There is no memory. What was to be changed can't be used any more.
    ATTUNE_GRAPH_NO_MEMORY = 2,
    /// The graph is full, or the label is taken; nothing was changed.
    ATTUNE_GRAPH_REFUSED = 3,
    /// An earlier call, or this one, failed halfway: the graph can only be freed.
    ATTUNE_GRAPH_BROKEN = 4,
} attune_graph_status;

/// What went wrong, in words, ended by a zero; empty where nothing did.
typedef struct attune_graph_failure {
    char text[120];
} attune_graph_failure;

/// How a graph is made (section 4.1 of the paper).
typedef struct attune_graph_settings {
    /// The length of the vectors, 1 to 65,536.
    size_t dimension;
    /// M: a vector's links on each level, twice as many on the lowest; 2 to 100.
    size_t links;
    /// efConstruction: the candidates among which a new vector's links are chosen; 1 to 10,000.
    size_t construction;
    /// Draws the levels.
    uint64_t seed;
} attune_graph_settings;

/// An empty graph for up to `capacity` vectors, at most 2^31 - 1; NULL when it can't be made. Some 50 bytes are taken for each
/// vector of the capacity, so that no table has to move later; the rest comes with the vectors.
attune_graph *_Nullable attune_graph_create(
    attune_graph_settings settings, size_t capacity, attune_graph_failure *_Nonnull failure);

void attune_graph_free(attune_graph *_Nonnull graph);

/// Adds a vector, [dimension], under a label that isn't there.
attune_graph_status attune_graph_add(
    attune_graph *_Nonnull graph, const float *_Nonnull vector, uint64_t label,
    attune_graph_failure *_Nonnull failure);

/// Finds about the `limit` vectors most like a query, [dimension], looking at as many candidates (ef, section 4.2): labels
/// and inner products, [limit], in descending inner products. `found` is their number, less than the limit only where there
/// are fewer. The inner products have the same bits as attune_dot's.
attune_graph_status attune_graph_search(
    const attune_graph *_Nonnull graph, const float *_Nonnull query, size_t limit, uint64_t *_Nonnull labels,
    float *_Nonnull products, size_t *_Nonnull found, attune_graph_failure *_Nonnull failure);

/// The vectors in a graph.
size_t attune_graph_count(const attune_graph *_Nonnull graph);

#ifdef __cplusplus
}
#endif
