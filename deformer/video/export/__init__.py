"""A video's hands as files of other tools, a module per format. docs/exports.md describes them.

Data (npz, lerobot, retarget) keep the camera frame: x right, y down, z forward. Meshes (obj, glb)
have y up and z towards the camera, as programs that show them expect.
"""
