"""`python -m keras_mrcnn`: the same as `keras-mrcnn`."""

from keras_mrcnn.cli import main

if __name__ == "__main__":
    main(prog_name="keras-mrcnn")
